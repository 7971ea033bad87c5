# SPDX-License-Identifier: Apache-2.0
"""An image through a PyTorch network filled with a checkpoint's tensors."""

import numpy as np
import torch

from i2z_jax.types import Float, NDArray


def run(
    network: torch.nn.Module,
    tensors: dict[str, np.ndarray],
    image: Float[NDArray, "b h w 3"],
) -> list[np.ndarray]:
    """The network's maps as `b h w c`, in evaluation mode.

    `tensors` are known to be complete by now (`mapping.fit`), but for batch counters,
    which checkpoints older than PyTorch 0.4 do not have.
    """
    names = network.state_dict().keys() & tensors.keys()
    state = {name: torch.from_numpy(np.array(tensors[name])) for name in names}
    network.load_state_dict(state, strict=False)
    with torch.no_grad():
        maps = network.eval()(torch.from_numpy(image).permute(0, 3, 1, 2))
    return [x.permute(0, 2, 3, 1).numpy() for x in maps]
