# SPDX-License-Identifier: Apache-2.0
"""Pooling and doubling against PyTorch's, odd sizes included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional

from i2z_jax.models import resampling


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (resampling.max_pool, lambda x: functional.max_pool2d(x, 2)),
        (resampling.mean_pool, lambda x: functional.avg_pool2d(x, 2)),
        (resampling.double, lambda x: functional.interpolate(x, scale_factor=2)),
    ],
    ids=["max", "mean", "double"],
)
@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (1, 7, 5, 4)], ids=["even", "odd"])
def test_equals_pytorch(ours, theirs, shape, rng):
    x = rng.normal(size=shape).astype(np.float32)
    expected = theirs(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(ours(jnp.asarray(x)), expected.numpy(), atol=1e-6)


def test_gradient_of_a_maximum_is_pytorch_s_and_a_nan_stays_one(rng):
    """Of equals the first one's: after a ReLU most are."""
    x = np.maximum(rng.integers(-2, 3, size=(2, 6, 8, 3)), 0).astype(np.float32)
    weight = rng.normal(size=(2, 3, 4, 3)).astype(np.float32)

    @jax.jit
    @jax.grad
    def gradient(x):
        return (resampling.max_pool(x) * weight).sum()

    theirs = torch.from_numpy(x).permute(0, 3, 1, 2).requires_grad_()
    pooled = functional.max_pool2d(theirs, 2)
    (pooled * torch.from_numpy(weight).permute(0, 3, 1, 2)).sum().backward()
    expected = theirs.grad.permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(gradient(jnp.asarray(x)), expected)
    for place in np.ndindex(2, 2):
        x = np.zeros((1, 2, 2, 1), np.float32)
        x[0, *place] = np.nan
        assert np.isnan(resampling.max_pool(jnp.asarray(x))).all()
