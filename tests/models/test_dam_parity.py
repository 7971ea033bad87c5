# SPDX-License-Identifier: Apache-2.0
"""Our deep appearance model against PyTorch's, with the same random weights."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from i2z_jax.config import DAMConfig
from i2z_jax.convert import multiface_dam
from tests.convert.dam_checkpoint import (
    VARIANTS,
    converted,
    random_statistics,
    random_tensors,
    tiny,
)


def largest_errors(config, seed, *dtypes):
    """Per dtype, stage -> largest error over the reference's largest value."""
    tensors = random_tensors(config, seed) | random_statistics(config, seed)
    inputs = multiface_dam.sample(config, np.random.default_rng(seed))
    expected = multiface_dam.reference(config, tensors, inputs)
    for dtype in dtypes:
        ours = nnx.jit(multiface_dam.stages)(converted(config, tensors, dtype), inputs)
        assert all(ours[stage].dtype == jnp.float32 for stage in expected)
        yield {
            stage: np.abs(ours[stage] - value).max() / np.abs(value).max()
            for stage, value in expected.items()
        }


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_pytorch(variant, seed):
    """Sizes that start at 4x4 and at 2x2; the latter as 512², the other layout."""
    config = tiny(variant, texture_size=(64, 128, 32)[seed])
    (errors,) = largest_errors(config, seed, jnp.float32)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.full
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_pytorch_at_full_size(variant):
    """7306 vertices and 1024² texels; 256 latents, as the public weights seem to be."""
    config = DAMConfig(variant=variant, z_size=256, cameras=38)
    float32, bfloat16 = largest_errors(config, 7, jnp.float32, jnp.bfloat16)
    assert max(float32.values()) < 1e-4, float32
    assert max(bfloat16.values()) < 3e-2, bfloat16
