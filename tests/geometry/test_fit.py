# SPDX-License-Identifier: Apache-2.0
"""The fit of H: exact on weak-perspective views, small residual on real ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.errors import InputError
from i2z_jax.geometry.camera import project_calibrated, project_weak
from i2z_jax.geometry.crop import (
    apply_affine,
    box_of_points,
    crop_from_box,
    unit_from_pixels,
)
from i2z_jax.geometry.fit import fit_calibrated_pose, fit_weak_pose


@pytest.fixture(scope="module")
def face():
    """Points on the front half of a head-sized ellipsoid, mm, off its centre."""
    rng = np.random.default_rng(3)
    points = rng.normal(size=(500, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = points[points[:, 2] > -0.2]
    return points * [75.0, 115.0, 80.0] + [2.0, -10.0, -25.0]


def poses():
    rng = np.random.default_rng(5)
    for yaw in (-80, -40, 0, 40, 80):
        for pitch in (-45, 0, 45):
            for roll in (-170, -30, 0, 90):
                angles = np.radians([pitch, yaw, roll])
                yield np.array(
                    [rng.uniform(0.004, 0.012), *angles, *rng.uniform(-0.4, 0.4, 2)]
                )


def test_weak_views_are_recovered(face):
    for pose in poses():
        points = project_weak(pose, face)[:, :2]
        fit = fit_weak_pose(face, points)
        np.testing.assert_allclose(fit.pose, pose, atol=1e-9)
        assert fit.residual < 1e-9


def test_weak_views_are_recovered_in_single_precision(face):
    fit = jax.jit(jax.vmap(fit_weak_pose, in_axes=(None, 0)))
    expected = np.stack(list(poses()))
    points = np.stack([project_weak(pose, face)[:, :2] for pose in expected])
    got = fit(jnp.asarray(face, jnp.float32), jnp.asarray(points, jnp.float32))
    np.testing.assert_allclose(got.pose, expected, atol=1e-4)


def test_no_nearby_pose_is_better(face, rng):
    """On noisy points the objective has its minimum at the fit."""
    pose = np.array([0.008, 0.2, -0.5, 0.1, 0.05, -0.1])
    noisy = project_weak(pose, face)[:, :2]
    noisy = noisy + rng.normal(size=noisy.shape) * 0.05

    def error(candidate):
        return np.sum((project_weak(candidate, face)[:, :2] - noisy) ** 2)

    fit = fit_weak_pose(face, noisy)
    best = error(fit.pose)
    np.testing.assert_allclose(fit.residual, np.sqrt(best / len(face)))
    for column in range(6):
        for sign in (-1, 1):
            nearby = fit.pose.copy()
            nearby[column] += sign * 1e-4 * (0.01 if column == 0 else 1.0)
            assert error(nearby) > best


def calibrated_view(distance, yaw):
    """A camera on the horizon of the head's world, looking at its origin."""
    c, s = np.cos(yaw), np.sin(yaw)
    # Rows: the camera's x, y (down) and z (towards the head) axes in the world.
    rotation = np.array([[c, 0, -s], [0, -1, 0], [-s, 0, -c]])
    camera = np.concatenate([rotation, [[0.0], [0.0], [distance]]], axis=1)
    intrinsics = np.array([[7700.0, 0, 667], [0, 7700.0, 1024], [0, 0, 1]])
    return intrinsics, camera, np.eye(3, 4)


@pytest.mark.parametrize("yaw", np.radians([0, 30, 60, -75]))
def test_perspective_of_one_metre_costs_less_than_two_pixels(face, yaw):
    camera = calibrated_view(1000.0, yaw)
    pixels, _ = project_calibrated(*camera, face)
    crop = crop_from_box(box_of_points(pixels), 256, scale=1.5)
    fit = fit_calibrated_pose(*camera, face, crop, 256)
    assert 0.1 < fit.residual < 2.0
    np.testing.assert_allclose(fit.pose[2], yaw, atol=np.radians(4))
    seen = unit_from_pixels(apply_affine(crop, pixels), 256)
    distance = np.linalg.norm(project_weak(fit.pose, face)[:, :2] - seen, axis=1)
    np.testing.assert_allclose(np.sqrt(np.mean(distance**2)) * 128, fit.residual)


def test_residual_falls_with_distance(face):
    residuals = []
    for distance in (500.0, 1000.0, 4000.0):
        camera = calibrated_view(distance, 0.4)
        pixels, _ = project_calibrated(*camera, face)
        crop = crop_from_box(box_of_points(pixels), 256)
        residuals.append(fit_calibrated_pose(*camera, face, crop, 256).residual)
    assert residuals[0] > residuals[1] > residuals[2]


@pytest.mark.parametrize("distance", [20.0, -1000.0], ids=["inside", "behind"])
def test_camera_inside_the_head_or_behind_it(face, distance):
    camera = calibrated_view(distance, 0.0)
    with pytest.raises(InputError, match=r"inside the head .* behind"):
        fit_calibrated_pose(*camera, face, np.eye(2, 3), 256)
