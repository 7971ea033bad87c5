# SPDX-License-Identifier: Apache-2.0
"""Crop maps compose and invert; a pose moves with its crop."""

import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.crop import (
    apply_affine,
    box_of_points,
    compose,
    crop_from_box,
    invert,
    pixels_from_unit,
    similarity,
    transform_pose,
    unit_affine,
    unit_from_pixels,
    wrap_angle,
)


def random_similarity(rng, spread=1.0):
    return similarity(
        np.exp(rng.uniform(-0.7, 0.7)),
        rng.uniform(-np.pi, np.pi),
        rng.uniform(-spread, spread, 2),
    )


def test_inverse_undoes(rng):
    affine = rng.normal(size=(30, 2, 3))
    points = rng.normal(size=(30, 9, 2))
    back = apply_affine(invert(affine), apply_affine(affine, points))
    np.testing.assert_allclose(back, points, atol=1e-9)


def test_inverse_of_shifts_and_halvings_is_exact():
    affine = np.array([[0.5, 0.0, 13.0], [0.0, 0.5, -7.0]])
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    assert np.array_equal(compose(affine, invert(affine)), identity)


def test_compose_applies_the_inner_one_first(rng):
    outer, inner = rng.normal(size=(2, 2, 3))
    points = rng.normal(size=(5, 2))
    one_by_one = apply_affine(outer, apply_affine(inner, points))
    np.testing.assert_allclose(apply_affine(compose(outer, inner), points), one_by_one)


def test_box_fills_the_crop():
    box = np.array([100.0, 50.0, 140.0, 130.0])
    affine = crop_from_box(box, 256, scale=1.25)
    seen = apply_affine(affine, box.reshape(2, 2))
    # The longer side (80 px) becomes 1/1.25 of 256; the centre stays in the centre.
    np.testing.assert_allclose(seen[:, 1], [25.6, 230.4])
    np.testing.assert_allclose(seen.mean(axis=0), [128, 128])
    np.testing.assert_allclose(box_of_points(box.reshape(2, 2)), box)


def test_pixel_centres_are_at_one_half():
    np.testing.assert_allclose(unit_from_pixels(np.array([0.0, 256.0]), 256), [-1, 1])
    np.testing.assert_allclose(pixels_from_unit(np.array([0.0, -1.0]), 256), [128, 0])


def test_unit_affine_is_the_same_map(rng):
    affine, pixels = rng.normal(size=(2, 3)), rng.uniform(0, 256, (6, 2))
    direct = unit_from_pixels(apply_affine(affine, pixels), 128)
    in_units = apply_affine(
        unit_affine(affine, 256, 128), unit_from_pixels(pixels, 256)
    )
    np.testing.assert_allclose(in_units, direct, atol=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_pose_moves_with_the_points(seed):
    rng = np.random.default_rng(seed)
    pose = np.array([0.008, *rng.uniform(-1.4, 1.4, 3), *rng.uniform(-0.3, 0.3, 2)])
    vertices = rng.normal(size=(40, 3)) * 80
    move = random_similarity(rng)
    moved = transform_pose(pose, move)
    seen, expected = project_weak(moved, vertices), project_weak(pose, vertices)
    expected_points = apply_affine(move, expected[:, :2])
    np.testing.assert_allclose(seen[:, :2], expected_points, atol=1e-12)
    np.testing.assert_allclose(seen[:, 2], expected[:, 2], atol=1e-10)
    assert -np.pi <= moved[3] < np.pi


def test_jax_batch(rng):
    poses = rng.uniform(-1, 1, (4, 6))
    moves = np.stack([random_similarity(rng) for _ in range(4)])
    expected = transform_pose(poses, moves)
    got = transform_pose(
        jnp.asarray(poses, jnp.float32), jnp.asarray(moves, jnp.float32)
    )
    difference = np.asarray(got) - expected
    difference[:, 3] = wrap_angle(difference[:, 3])
    np.testing.assert_allclose(difference, 0.0, atol=1e-5)
