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
    """The network's maps as `b h w c`, in evaluation mode."""
    fill(network, tensors)
    with torch.no_grad():
        maps = network.eval()(torch.from_numpy(image).permute(0, 3, 1, 2))
    return [x.permute(0, 2, 3, 1).numpy() for x in maps]


def fill(network: torch.nn.Module, tensors: dict[str, np.ndarray]) -> None:
    """Put a checkpoint's tensors into a network, which computes in float32.

    `tensors` are known to be complete by now (`mapping.fit`), but for batch counters,
    which checkpoints older than PyTorch 0.4 do not have.
    """
    names = network.state_dict().keys() & tensors.keys()
    # By way of float32: `from_numpy` knows no bfloat16.
    arrays = {name: np.array(tensors[name], np.float32) for name in names}
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    network.load_state_dict(state, strict=False)
