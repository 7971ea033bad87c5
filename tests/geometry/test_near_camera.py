# SPDX-License-Identifier: Apache-2.0
"""What a near camera sees, against a pinhole camera."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.geometry.camera import (
    fit_change,
    project_calibrated,
    project_near,
    project_weak,
    seen_from_near,
    view_from_head,
)
from i2z_jax.geometry.fit import fit_weak_pose


def head(rng, frames=12):
    """Points of a head and poses that turn it, float64."""
    points = rng.normal(size=(68, 3)) * [50, 60, 30] + [0, 0, 60]
    pose = np.zeros((frames, 6))
    pose[:, 0] = rng.uniform(0.008, 0.011, frames)
    pose[:, 1:4] = rng.normal(size=(frames, 3)) * 0.3
    pose[:, 4:] = rng.normal(size=(frames, 2)) * 0.05
    return np.tile(points, (frames, 1, 1)), pose


def pinhole(points, pose, distance_mm):
    """What a camera sees whose scale at the head's origin is the pose's, [-1, 1]."""
    seen = []
    for each, h in zip(points, pose, strict=True):
        turned = np.column_stack([view_from_head(h), [0, 0, distance_mm]])
        intrinsics = np.diag([h[0] * distance_mm, h[0] * distance_mm, 1])
        pixels, _ = project_calibrated(intrinsics, np.eye(3, 4), turned, each)
        seen.append(pixels + h[4:])
    return np.stack(seen)


def least_squares(points, moved, weight=None):
    """(scale, roll), tilt and shift that move points of one frame so, float64."""
    x, y, depth = points.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    basis = np.array(
        [[x, y], [-y, x], [depth, zero], [zero, depth], [one, zero], [zero, one]]
    ).transpose(2, 1, 0)
    root = np.sqrt(one if weight is None else weight)[:, None]
    system = (basis * root[..., None]).reshape(-1, 6)
    fit, *_ = np.linalg.lstsq(system, (moved * root).ravel(), rcond=None)
    return fit[:2], fit[2:4], fit[4:]


@pytest.mark.parametrize("distance_mm", [400.0, 560.0, 1200.0])
def test_it_is_the_pinhole_s_picture_less_what_a_weak_camera_adds(rng, distance_mm):
    points, pose = head(rng)
    k = np.asarray(1 / distance_mm)
    ours = project_near(pose, points, points, k)
    for x, h, near, picture in zip(
        points, pose, ours, pinhole(points, pose, distance_mm), strict=True
    ):
        turned = x @ view_from_head(h).T
        flat, depth = turned[:, :2], turned[:, 2]
        (scale, roll), tilt, shift = least_squares(turned, -depth[:, None] * flat)
        away = picture - h[4:]
        expected = picture - k * (scale * away + roll * away[:, ::-1] * [-1, 1])
        expected -= h[0] * k * (depth[:, None] * tilt + shift)
        np.testing.assert_allclose(near[:, :2], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(near[:, 2], depth)


def test_both_ways_to_see_from_near_are_one(rng):
    points, pose = head(rng)
    k = np.asarray(1 / 560)
    np.testing.assert_allclose(
        project_weak(pose, seen_from_near(pose, points, k)),
        project_near(pose, points, points, k),
    )


@pytest.mark.parametrize("distance_mm", [560.0, 1200.0])
def test_the_pose_that_fits_a_near_picture_best_is_the_pose(rng, distance_mm):
    """H is a label's: the best weak camera of a pinhole's picture of the whole head."""
    points, pose = head(rng)
    seen = pinhole(points, pose, distance_mm)
    pose = np.stack([fit_weak_pose(x, y)[0] for x, y in zip(points, seen, strict=True)])
    k = np.asarray(1 / distance_mm)
    far = project_weak(pose, points)[..., :2]
    near = project_weak(pose, seen_from_near(pose, points, k))[..., :2]
    origin = pinhole(points, pose, distance_mm)
    off = [np.linalg.norm(x - seen, axis=-1).mean() for x in (far, near, origin)]
    # What is left is of second order. With the pose's scale taken for that at the
    # head's origin it would be more than without any perspective.
    assert off[1] < 0.2 * off[0] < 0.2 * off[2]


def test_a_fitted_change_is_that_of_least_squares(rng):
    points = rng.normal(size=(5, 68, 3)) * [50, 60, 30]
    moved, weight = rng.normal(size=(5, 68, 2)), rng.uniform(size=(5, 68))
    weight[:, :20] = 0
    for dtype, rtol in ((np.float64, 1e-4), (np.float32, 2e-3)):
        found = fit_change(*(v.astype(dtype) for v in (points, moved, weight)))
        for i in range(5):
            turn, tilt, shift = least_squares(points[i], moved[i], weight[i])
            ours = np.array([found.scale[i], found.roll[i]]).ravel()
            np.testing.assert_allclose(ours, turn, rtol=rtol)
            np.testing.assert_allclose(found.tilt[i, 0], tilt, rtol=rtol)
            np.testing.assert_allclose(found.shift[i, 0], shift, rtol=rtol, atol=1e-4)


@pytest.mark.parametrize("trusted", [0, 1, 2, 3])
def test_a_change_fitted_to_few_points_stays_small(rng, trusted):
    """In float32, where a point's distance from its own mean is not quite 0."""
    points = (rng.normal(size=(68, 3)) * [50, 60, 30] + [0, 0, 60]).astype(np.float32)
    moved = rng.normal(size=(68, 2)).astype(np.float32)
    weight = (np.arange(68) < trusted).astype(np.float32)
    found = fit_change(points, moved, weight).moved(points)
    np.testing.assert_allclose(found[:trusted], moved[:trusted], atol=1e-2)
    assert np.abs(found).max() < (100 if trusted else 1e-6)


def test_no_device_needs_what_another_fits(rng):
    """No solver that would be called with the systems of all devices."""
    shapes = (4, 68, 3), (4, 68, 2), (4, 68)
    points, moved, weight = (jnp.asarray(rng.random(s), jnp.float32) for s in shapes)
    program = jax.jit(fit_change).lower(points, moved, weight).compile().as_text()
    assert "custom-call" not in program
