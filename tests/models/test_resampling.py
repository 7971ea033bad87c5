# SPDX-License-Identifier: Apache-2.0
"""Pooling and doubling against PyTorch's, odd sizes included."""

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
