# SPDX-License-Identifier: Apache-2.0
"""Frames that are looked at part by part: means over parts are means over frames."""

import numpy as np
import pytest

from i2z_jax.sharding import create_mesh
from i2z_jax.train.observe_frames import PAIRS, in_groups, mean_over


@pytest.mark.parametrize("count", [1, 2, 7, 8, 13, 45])
def test_every_frame_weighs_the_same(count, rng):
    values = rng.normal(size=1000)
    rows = rng.choice(1000, count, replace=False).astype(np.int32)
    parts = in_groups(rows, create_mesh())
    assert {len(part.rows) for part in parts} == {2 * PAIRS}
    found = mean_over(parts, [values[part.rows].mean() for part in parts])
    np.testing.assert_allclose(found, values[rows].mean(), rtol=1e-12)
    first = [part.rows[: part.count] for part in parts]
    np.testing.assert_array_equal(np.concatenate(first), rows)


@pytest.mark.parametrize("count", [1, 3, 8, 45])
def test_pairs_stay_together(count):
    start = np.arange(0, 3 * count, 3, dtype=np.int32)
    parts = in_groups(np.stack([start, start + 1], -1), create_mesh())
    assert {len(part.rows) for part in parts} == {2 * PAIRS}
    assert sum(part.count for part in parts) == 2 * count
    for part in parts:
        first, second = part.rows.reshape(-1, 2).T
        np.testing.assert_array_equal(first % 3, 0)
        np.testing.assert_array_equal(second, first + 1)
