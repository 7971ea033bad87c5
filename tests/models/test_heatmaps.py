# SPDX-License-Identifier: Apache-2.0
"""Decoding: known sub-pixel positions come back, in pixels with centres at +0.5."""

import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.models.heatmaps import soft_argmax

SIDE, IMAGE = 64, 256


def bell(points_px, sigma=1.0, height=1.0):
    """Gaussians (sigma in cells) around image points, sampled at the cells' centres."""
    centres = (np.arange(SIDE) + 0.5) * IMAGE / SIDE
    x, y = np.moveaxis(points_px, -1, 0)[..., None, None, :]
    square = (centres[:, None] - x) ** 2 + (centres[:, None, None] - y) ** 2
    maps = height * np.exp(-square / (2 * (sigma * IMAGE / SIDE) ** 2))
    return jnp.asarray(maps, jnp.float32)


@pytest.fixture
def points(rng):
    return rng.uniform(20, IMAGE - 20, (3, 40, 2))


@pytest.mark.parametrize(
    ("sigma", "within_px"), [(1.0, 0.004), (1.5, 0.03), (2.0, 0.2)]
)
def test_soft_argmax_finds_bells_between_cells(points, sigma, within_px):
    found = soft_argmax(bell(points, sigma), IMAGE)
    assert np.abs(found.points - points).max() < within_px


def test_soft_argmax_bears_noise_and_a_second_bell(points, rng):
    """Low noise everywhere, a lower bell far off: what a network's map looks like."""
    far = (points + IMAGE / 2) % IMAGE
    maps = bell(points, height=0.8) + bell(far, height=0.4)
    maps += jnp.asarray(rng.normal(0, 0.01, maps.shape), jnp.float32)
    found = soft_argmax(maps, IMAGE)
    assert np.abs(found.points - points).max() < 0.5
    np.testing.assert_allclose(found.confidence, 0.8, atol=0.25)


def test_confidence_is_the_height_between_0_and_1():
    at = np.full((1, 2), 130.0)  # a cell's centre
    for height, confidence in ((0.25, 0.25), (1.7, 1.0), (-0.5, 0.0)):
        found = soft_argmax(bell(at, height=height), IMAGE)
        np.testing.assert_allclose(found.confidence, [confidence], atol=1e-6)


def test_map_without_heat_answers_finitely():
    found = soft_argmax(jnp.full((4, SIDE, SIDE, 2), -0.1), IMAGE)
    np.testing.assert_array_equal(found.points, jnp.full((4, 2, 2), 2.0))
    np.testing.assert_array_equal(found.confidence, 0)


def test_points_move_with_the_image_size(points):
    maps = bell(points)
    np.testing.assert_allclose(
        soft_argmax(maps, 2 * IMAGE).points,
        2 * soft_argmax(maps, IMAGE).points,
        rtol=1e-6,
    )
