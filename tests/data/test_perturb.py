# SPDX-License-Identifier: Apache-2.0
"""Scenarios: fixed, and H follows the pixels."""

import cv2
import numpy as np
import pytest

from i2z_jax.data.perturb import PERTURBATIONS, central_camera, face_mask, perturb
from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.crop import transform_pose


@pytest.fixture
def image(rng):
    return cv2.GaussianBlur(
        rng.integers(0, 200, (128, 128, 3), dtype=np.uint8), (0, 0), 2
    )


@pytest.fixture
def face():
    angle = np.linspace(0, 2 * np.pi, 40)
    circle = 64 + 30 * np.stack([np.cos(angle), np.sin(angle)], -1)
    return face_mask(circle, 128)


@pytest.mark.parametrize("scenario", PERTURBATIONS)
def test_a_scenario_is_fixed(scenario, image, face):
    once, again = (perturb(scenario, image, 7, face=face) for _ in range(2))
    np.testing.assert_array_equal(once.image, again.image)
    np.testing.assert_array_equal(once.unit_similarity, again.unit_similarity)
    other = perturb(scenario, image, 8, face=face)
    assert not np.array_equal(once.image, other.image)
    still = np.allclose(once.unit_similarity, np.eye(2, 3), atol=1e-15)
    assert still == (scenario != "jitter")


@pytest.mark.parametrize("index", range(4))
def test_jitter_moves_pixels_and_pose_alike(index):
    size = 256
    pose = np.array([0.009, 0.2, -0.3, 0.15, 0.05, -0.04])
    corners = np.array([[-40.0, -40, 9], [40, -40, 0], [0, 50, -9]])
    pixels = (project_weak(pose, corners)[:, :2] + 1) / 2 * size
    marks = []
    for x, y in pixels:
        mark = np.zeros((size, size, 3), np.uint8)
        grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) + 0.5
        mark[np.linalg.norm(grid - (x, y), axis=-1) < 8] = 255
        done = perturb("jitter", mark, index)
        weight = done.image[..., 0] / 255.0
        marks.append((grid * weight[..., None]).sum(axis=(0, 1)) / weight.sum())
    moved = transform_pose(pose, done.unit_similarity)
    expected = (project_weak(moved, corners)[:, :2] + 1) / 2 * size
    np.testing.assert_allclose(marks, expected, atol=0.3)
    assert np.abs(expected - pixels).max() > 1.0


def test_dots_stay_off_the_face(image, face):
    done = perturb("background", image, 0, face=face)
    np.testing.assert_array_equal(done.image[face], image[face])
    white = (done.image == 255).all(axis=-1)
    assert white[~face].mean() > 0.02


def test_the_face_mask_covers_the_points(face):
    angle = np.linspace(0, 2 * np.pi, 40)
    inner = 64 + 29 * np.stack([np.cos(angle), np.sin(angle)], -1)
    assert face[inner[:, 1].astype(int), inner[:, 0].astype(int)].all()
    assert abs(face.sum() / (np.pi * (30 + 0.02 * 128) ** 2) - 1) < 0.1


def test_light_is_a_gamma(image):
    done = perturb("light", image, 5)
    black_and_white = np.zeros((4, 4, 3), np.uint8)
    black_and_white[2:] = 255
    kept = perturb("light", black_and_white, 5).image
    np.testing.assert_array_equal(kept, black_and_white)
    gamma = np.log(done.image[40:60, 40:60] / 255) / np.log(image[40:60, 40:60] / 255)
    assert np.ptp(gamma) < 0.1
    assert abs(np.log(gamma.mean())) < 0.7


def test_the_central_camera_has_the_others_around_it():
    angles = np.deg2rad([-80, -35, 4, 30, 85])
    arc = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], -1)
    assert central_camera(arc) == 2
    assert central_camera(arc[[2, 0, 1, 3, 4]]) == 0
