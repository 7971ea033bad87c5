# SPDX-License-Identifier: Apache-2.0
"""The frame conventions in words, and both projections against written-out math."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.geometry.camera import (
    camera_direction,
    project_calibrated,
    project_near,
    project_weak,
    transform_points,
    view_direction,
    view_from_head,
)

NOSE = np.array([[0.0, 0.0, 100.0]])
FRONTAL = np.array([0.01, 0.0, 0.0, 0.0, 0.0, 0.0])


def pose(**changes):
    names = ("f", "rx", "ry", "rz", "tx", "ty")
    values = dict(zip(names, FRONTAL, strict=True)) | changes
    return np.array([values[name] for name in names])


@pytest.mark.parametrize(
    "project",
    [project_weak, lambda h, v: project_near(h, v, v, jnp.float32(1 / 550))],
    ids=["weak", "near"],
)
def test_no_matrix_unit_rounds_a_projection(project):
    """A TPU multiplies matrices of float32 as bfloat16 where nothing else is asked."""
    shapes = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, 6), (2, 9, 3)))
    text = jax.jit(project).trace(*shapes).lower(lowering_platforms=("tpu",)).as_text()
    assert "multiply" in text
    assert "dot_general" not in text


@pytest.mark.parametrize(
    ("vertex", "seen"),
    [
        ((50, 0, 0), (0.5, 0.0, 0.0)),  # the subject's left is on the image's right
        ((0, 50, 0), (0.0, -0.5, 0.0)),  # up in space is up in the image: y < 0
        ((0, 0, 50), (0.0, 0.0, -50.0)),  # the nose is nearer than the ears
    ],
)
def test_zero_rotation_looks_straight_into_the_face(vertex, seen):
    vertices = np.array([vertex], float)
    np.testing.assert_allclose(project_weak(FRONTAL, vertices)[0], seen, atol=1e-15)


def test_signs_of_the_angles():
    # Positive rx tips the chin ... the nose moves down; ry turns it to the left of
    # the image; rz turns the image clockwise.
    assert project_weak(pose(rx=0.3), NOSE)[0, 1] > 0
    assert project_weak(pose(ry=0.3), NOSE)[0, 0] < 0
    crown = np.array([[0.0, 100.0, 0.0]])
    assert project_weak(pose(rz=0.3), crown)[0, 0] > 0


def test_view_direction_is_the_axis_depth_falls_along(rng):
    poses = rng.uniform(-1, 1, (20, 6))
    vertices = rng.normal(size=(20, 1, 3))
    step = view_direction(poses)[:, None]
    before = project_weak(poses, vertices)
    after = project_weak(poses, vertices + step)
    np.testing.assert_allclose(after[..., :2], before[..., :2], atol=1e-12)
    np.testing.assert_allclose(after[..., 2], before[..., 2] - 1.0, atol=1e-12)


def test_view_is_a_rotation(rng):
    view = view_from_head(rng.uniform(-3, 3, (10, 6)))
    eye = np.broadcast_to(np.eye(3), (10, 3, 3))
    np.testing.assert_allclose(view @ view.mT, eye, atol=1e-13)
    np.testing.assert_allclose(np.linalg.det(view), 1.0, atol=1e-13)


def test_calibrated_projection_is_k_r_rf(rng):
    intrinsics = np.array([[900.0, 0, 310], [0, 910.0, 200], [0, 0, 1]])
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    head_rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    t, tf = np.array([3.0, -5, 1000]), np.array([10.0, 20, -30])
    camera = np.concatenate([rotation, t[:, None]], 1)
    head = np.concatenate([head_rotation, tf[:, None]], 1)
    vertices = rng.normal(size=(7, 3)) * 80
    pixels, depth = project_calibrated(intrinsics, camera, head, vertices)
    for vertex, pixel, z in zip(vertices, pixels, depth, strict=True):
        ray = intrinsics @ (rotation @ (head_rotation @ vertex + tf) + t)
        np.testing.assert_allclose(pixel, ray[:2] / ray[2], rtol=1e-12)
        np.testing.assert_allclose(z, ray[2], rtol=1e-12)


def test_camera_direction_points_at_the_optical_centre(rng):
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    camera = np.concatenate([rotation, rng.normal(size=(3, 1)) * 500], 1)
    head = np.concatenate(
        [np.linalg.qr(rng.normal(size=(3, 3)))[0], np.ones((3, 1))], 1
    )
    direction = camera_direction(camera, head)
    np.testing.assert_allclose(np.linalg.norm(direction), 1.0)
    # The centre is the point that the camera maps to its origin.
    distance = np.linalg.norm(
        transform_points(camera, transform_points(head, np.zeros((1, 3))))
    )
    centre = transform_points(head, distance * direction[None])
    np.testing.assert_allclose(transform_points(camera, centre), 0.0, atol=1e-9)


def test_jax_and_vmap_agree_with_numpy(rng):
    poses, vertices = rng.uniform(-1, 1, (3, 6)), rng.normal(size=(3, 5, 3))
    expected = project_weak(poses, vertices)
    single = jnp.asarray(poses, jnp.float32), jnp.asarray(vertices, jnp.float32)
    np.testing.assert_allclose(project_weak(*single), expected, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(project_weak)(*single), expected, atol=1e-5)
