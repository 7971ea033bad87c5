# SPDX-License-Identifier: Apache-2.0
"""VGG and both hourglasses against PyTorch's, with the same random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from i2z_jax.config import HourglassConfig, VGGConfig
from i2z_jax.convert import fan, princeton, torchvision_vgg
from i2z_jax.convert.torch_reference.hourglass import TorchFAN, TorchPrinceton
from i2z_jax.convert.torch_reference.vgg import TorchVGG
from tests.models.weights import converted, random_tensors

VGG = torchvision_vgg.PUBLISHED
FAN = fan.PUBLISHED
PRINCETON = princeton.PUBLISHED
NETWORKS = {"vgg": TorchVGG, "fan": TorchFAN, "princeton": TorchPrinceton}

WIDTHS = (8, 12, 20, 24, 28)


def largest_errors(family, config, image, seed, dtype=jnp.float32):
    """Stage -> largest error over the reference's largest value."""
    network = NETWORKS[family.name](config)
    tensors = random_tensors(network, seed, gain=2 if family is VGG else 1)
    expected = family.reference(config, tensors, {"image": image})
    graph, state = nnx.split(converted(family, config, tensors, dtype=dtype))
    forward = jax.jit(lambda state, image: list(nnx.merge(graph, state)(image)))
    return {
        stage: np.abs(np.float32(x) - value).max() / np.abs(value).max()
        for x, (stage, value) in zip(
            forward(state, image), expected.items(), strict=True
        )
    }


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "bn"])
@pytest.mark.parametrize("depth", [16, 19])
def test_vgg_equals_pytorch(depth, batch_norm, seed, rng):
    """On a size that leaves odd rows and columns at most of the poolings."""
    config = VGGConfig(depth=depth, batch_norm=batch_norm, channels=WIDTHS)
    image = rng.random((2, 92, 70, 3), np.float32)
    errors = largest_errors(VGG, config, image, seed)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("stacks", "depth", "landmarks"), [(1, 3, 7), (3, 2, 5)], ids=["1x3", "3x2"]
)
@pytest.mark.parametrize("family", [FAN, PRINCETON], ids=lambda f: f.name)
def test_hourglass_equals_pytorch(family, stacks, depth, landmarks, seed, rng):
    block = "hierarchical" if family is FAN else "residual"
    config = HourglassConfig(block, stacks, (8, 12), 16, landmarks, depth)
    image = rng.random((2, 64, 96, 3), np.float32)
    errors = largest_errors(family, config, image, seed)
    assert len(errors) == stacks
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.full
@pytest.mark.parametrize(
    ("family", "config"),
    [
        (VGG, VGGConfig(19)),
        (VGG, VGGConfig(16, batch_norm=True)),
        (FAN, HourglassConfig("hierarchical", stacks=4)),
        (PRINCETON, HourglassConfig("residual", stacks=4)),
    ],
    ids=["vgg19", "vgg16_bn", "fan4", "princeton4"],
)
def test_bfloat16_is_near_pytorch_at_full_size(family, config, rng):
    """In float32 `tests/convert/test_families.py` compares them, stage by stage."""
    image = rng.random((1, 256, 256, 3), np.float32)
    errors = largest_errors(family, config, image, 3, jnp.bfloat16)
    assert max(errors.values()) < 3e-2, errors
