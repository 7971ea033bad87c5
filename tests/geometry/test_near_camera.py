# SPDX-License-Identifier: Apache-2.0
"""What a near camera sees, against a pinhole camera."""

import numpy as np
import pytest

from i2z_jax.geometry.camera import (
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
        # -depth flat = scale flat + tilt depth + shift, x and y below each other.
        basis = np.zeros((2, len(x), 5))
        basis[..., 0] = flat.T
        for axis in range(2):
            basis[axis, :, 1 + axis], basis[axis, :, 3 + axis] = depth, 1
        moved = -depth * flat.T
        fit, *_ = np.linalg.lstsq(basis.reshape(-1, 5), moved.ravel(), rcond=None)
        scale, tilt, shift = fit[0], fit[1:3], fit[3:]
        expected = (picture - h[4:]) * (1 - k * scale) + h[4:]
        expected -= h[0] * k * (depth[:, None] * tilt + shift)
        np.testing.assert_allclose(near[:, :2], expected, rtol=1e-9, atol=1e-12)
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
