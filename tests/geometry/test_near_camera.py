# SPDX-License-Identifier: Apache-2.0
"""What a near camera sees, against a pinhole camera."""

import numpy as np
import pytest

from i2z_jax.geometry.camera import (
    bring_near,
    project_calibrated,
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
def test_brought_near_and_seen_from_afar_is_the_pinhole_s_picture(rng, distance_mm):
    points, pose = head(rng)
    origin = np.zeros((len(pose), 5))
    near = bring_near(pose, points, np.asarray(1 / distance_mm), origin)
    ours = project_weak(pose, near)
    np.testing.assert_allclose(ours[..., :2], pinhole(points, pose, distance_mm))
    np.testing.assert_allclose(ours[..., 2], project_weak(pose, points)[..., 2])


@pytest.mark.parametrize("distance_mm", [560.0, 1200.0])
def test_the_pose_that_fits_a_near_picture_best_is_the_pose(rng, distance_mm):
    """H is a label's: the best weak camera of a pinhole's picture of the whole head."""
    points, pose = head(rng)
    seen = pinhole(points, pose, distance_mm)
    pose = np.stack([fit_weak_pose(x, y)[0] for x, y in zip(points, seen, strict=True)])
    k = np.asarray(1 / distance_mm)
    far = project_weak(pose, points)[..., :2]
    near = project_weak(pose, seen_from_near(pose, points, k))[..., :2]
    origin = project_weak(pose, bring_near(pose, points, k, np.zeros((12, 5))))[..., :2]
    off = [np.linalg.norm(x - seen, axis=-1).mean() for x in (far, near, origin)]
    # What is left is of second order. With the pose's scale taken for that at the
    # head's origin it would be more than without any perspective.
    assert off[1] < 0.2 * off[0] < 0.2 * off[2]
