# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as the world ships them: published names, random everything."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from i2z_jax.config import HourglassConfig, VGGConfig
from i2z_jax.convert.torch_reference.hourglass import TorchFAN, TorchPrinceton
from i2z_jax.convert.torch_reference.vgg import TorchVGG

NETWORKS: dict[str, Callable] = {
    "vgg": TorchVGG,
    "fan": TorchFAN,
    "princeton": TorchPrinceton,
}
SMALL = {
    "vgg": VGGConfig(depth=16, batch_norm=True, channels=(4, 6, 8, 10, 12)),
    "fan": HourglassConfig("hierarchical", stacks=2, stem=(4, 8), features=12),
    "princeton": HourglassConfig(
        "residual", stacks=2, stem=(4, 8), features=12, depth=3
    ),
}


def random_state(network: torch.nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """The network's state with random biases and BN statistics too, not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.uniform_(0.3, 3.0, generator=generator)
        elif tensor.ndim == 1:
            shift = 1.0 if name.endswith("weight") else 0.0
            tensor.normal_(shift, 0.3, generator=generator)
        elif tensor.ndim > 1:
            deviation = (2 / tensor[0].numel()) ** 0.5
            tensor.normal_(0.0, deviation, generator=generator)
    return state


@pytest.fixture
def published(tmp_path) -> Callable[..., Path]:
    """`published("fan", config, prefix="module.", **keywords of torch.save)`."""

    def write(family, config=None, *, prefix="", seed=0, change=None, **save) -> Path:
        state = random_state(NETWORKS[family](config or SMALL[family]), seed)
        state = {prefix + name: tensor for name, tensor in state.items()}
        if change is not None:
            change(state)
        path = tmp_path / f"{family}.pth"
        torch.save(state, path, **save)
        return path

    return write
