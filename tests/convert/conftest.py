# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as the world ships them: published names, random everything."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from i2z_jax.config import HourglassConfig, VGGConfig
from i2z_jax.convert.torch_reference.hourglass import TorchFAN, TorchPrinceton
from i2z_jax.convert.torch_reference.vgg import TorchVGG
from tests.models.weights import random_tensors

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


@pytest.fixture
def published(tmp_path) -> Callable[..., Path]:
    """`published("fan", config, prefix="module.", **keywords of torch.save)`."""

    def write(family, config=None, *, prefix="", seed=0, change=None, **save) -> Path:
        network = NETWORKS[family](config or SMALL[family])
        tensors = random_tensors(network, seed, gain=2)
        # Batch counters too, which nothing reads.
        state = network.state_dict() | {
            name: torch.from_numpy(array) for name, array in tensors.items()
        }
        state = {prefix + name: tensor for name, tensor in state.items()}
        if change is not None:
            change(state)
        path = tmp_path / f"{family}.pth"
        torch.save(state, path, **save)
        return path

    return write
