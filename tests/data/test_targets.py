# SPDX-License-Identifier: Apache-2.0
"""A heatmap target says where its landmark is, to a fraction of a cell."""

import jax
import numpy as np
import pytest

from i2z_jax.data.targets import heatmap_targets


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_centre_of_mass_is_the_landmark(rng, sigma):
    landmarks = rng.uniform(40, 216, (3, 68, 2))
    maps, inside = heatmap_targets(landmarks, crop_size=256, map_size=64, sigma=sigma)
    assert maps.shape == (3, 64, 64, 68)
    assert inside.all()
    cells = np.arange(64) + 0.5
    weights = maps.sum(axis=(1, 2))
    x = (maps * cells[None, None, :, None]).sum(axis=(1, 2)) / weights
    y = (maps * cells[None, :, None, None]).sum(axis=(1, 2)) / weights
    # In crop pixels: a cell is four of them.
    np.testing.assert_allclose(4 * np.stack([x, y], -1), landmarks, atol=2e-3)
    np.testing.assert_allclose(weights, 2 * np.pi * sigma**2, rtol=1e-6)


def test_a_landmark_at_a_cell_centre_has_a_peak_of_one_there():
    landmark = np.array([[4 * 20 + 2.0, 4 * 30 + 2.0]])
    maps, _ = heatmap_targets(landmark, crop_size=256, map_size=64)
    assert maps[30, 20, 0] == maps.max() == 1.0


def test_landmarks_outside_have_no_map():
    outside = np.array([[-0.1, 9.0], [9.0, 256.0], [300.0, 9.0], [0.0, 255.9]])
    maps, inside = heatmap_targets(outside, crop_size=256, map_size=64)
    np.testing.assert_array_equal(inside, [False, False, False, True])
    assert maps[..., :3].sum() == 0
    assert maps[63, 0, 3] > 0.7


def test_the_device_paints_the_same_maps(rng):
    landmarks = rng.uniform(-20, 276, (2, 68, 2)).astype(np.float32)
    sizes = {"crop_size": 256, "map_size": 64}
    ours = heatmap_targets(landmarks, **sizes)
    theirs = jax.jit(lambda x: heatmap_targets(x, **sizes))(landmarks)
    np.testing.assert_allclose(theirs.maps, ours.maps, atol=1e-5)
    np.testing.assert_array_equal(theirs.inside, ours.inside)
