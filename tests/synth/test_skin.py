# SPDX-License-Identifier: Apache-2.0
"""Paint and light of the procedural head; landmarks against what the paint shows."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.geometry.topology import landmark_points, texel_map
from i2z_jax.synth import sheet
from i2z_jax.synth.head import ProceduralHead
from i2z_jax.synth.identity import Identity
from i2z_jax.synth.sitter import procedural_subject

TEXTURE = 256
SIZE = (448, 352)


@pytest.fixture(scope="module")
def subject():
    return procedural_subject(ProceduralHead(Identity(freckles=0.0), 3000), TEXTURE)


@pytest.fixture(scope="module")
def picture(subject):
    """The paint alone, without light or gloss."""
    albedo = jnp.asarray(subject.head.appearance(TEXTURE).albedo, jnp.float32)
    unlit = replace(subject, shade=lambda vertices, position, light: albedo)
    return sheet.cell(unlit, {}, size=SIZE).astype(float)


@pytest.fixture(scope="module")
def marks(subject):
    """Landmarks in the picture, by a pinhole of our own."""
    points = landmark_points(subject.head.topology, subject.head.neutral)
    points = points - sheet.LOOK_AT
    distance = sheet.SHEET_DISTANCE_MM
    scale = SIZE[0] * distance / 262 / (distance - points[:, 2])
    return np.stack(
        [SIZE[1] / 2 + points[:, 0] * scale, SIZE[0] / 2 - points[:, 1] * scale],
        axis=-1,
    )


def patch(picture, point, radius=2):
    x, y = np.round(point - 0.5).astype(int)
    return picture[y - radius : y + radius + 1, x - radius : x + radius + 1].mean(
        (0, 1)
    )


def redness(colour):
    return colour[..., 0] / colour[..., 1:].mean(axis=-1)


def test_iris_lies_between_the_landmarks_of_each_eye(picture, marks):
    for eye in (slice(36, 42), slice(42, 48)):
        middle = marks[eye].mean(axis=0)
        width = np.ptp(marks[eye][:, 0])
        iris = patch(picture, middle).mean()
        for side in (-0.32, 0.32):
            white = patch(picture, middle + np.array([side * width, 0]), 1).mean()
            assert white > iris + 30


def test_lips_are_red_inside_the_outer_landmarks_only(picture, marks):
    skin = redness(patch(picture, marks[8] - [0, 24]))
    for outer, inner in ((51, 62), (57, 66)):
        lip = redness(patch(picture, (marks[outer] + marks[inner]) / 2, 1))
        assert lip > skin + 0.15
        beyond = marks[outer] + 0.9 * (marks[outer] - marks[inner])
        assert redness(patch(picture, beyond, 1)) < (lip + skin) / 2


def test_brow_landmarks_lie_on_dark_hair(picture, marks):
    for point in (18, 19, 20, 21, 22, 23, 24, 25):
        above = patch(picture, marks[point] - [0, 16]).mean()
        near = [patch(picture, marks[point] + [0, d], 1).mean() for d in (-4, 0, 4)]
        assert min(near) < above - 12


def test_jaw_landmarks_lie_at_the_outline_of_the_lower_face(picture, marks):
    head = (picture != picture[0, 0]).any(axis=-1)
    for point in (3, 4, 12, 13):  # below the ears, above the neck
        columns = np.flatnonzero(head[int(marks[point, 1])])
        edge = columns[0] if point < 8 else columns[-1] + 1
        assert abs(marks[point, 0] - edge) < 6


def test_paint_is_repeatable_and_in_range():
    head = ProceduralHead(Identity(seed=4), size=600)
    first, second = head.appearance(64), head.appearance(64)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()
    assert first.albedo.min() >= 0
    assert first.albedo.max() <= 1
    assert first.occlusion.min() >= 0
    assert first.occlusion.max() <= 1
    assert first.roughness.min() > 0.05


def test_darker_people_are_darker():
    light, dark = (
        ProceduralHead(Identity(melanin=m), size=600).appearance(64).albedo
        for m in (0.05, 0.9)
    )
    assert dark.mean() < 0.6 * light.mean()


def test_gloss_follows_the_camera_and_paint_does_not(subject):
    points = jnp.asarray(subject.head.neutral, jnp.float32)
    textures = [
        np.asarray(subject.shade(points, jnp.asarray(p, jnp.float32), None))
        for p in ([0.0, 0, 1000], [700.0, 0, 700])
    ]
    change = np.abs(textures[0] - textures[1])
    assert 0.001 < change.mean() < 0.05
    assert change.max() > 0.03


def test_textures_are_filled_and_within_range(subject):
    points = jnp.asarray(subject.head.neutral, jnp.float32)
    texture = np.asarray(subject.shade(points, jnp.asarray([0.0, 0, 1000]), None))
    used = texel_map(subject.head.topology, TEXTURE).triangle >= 0
    assert texture.min() >= 0
    assert texture.max() <= 1
    assert used.mean() > 0.85
    assert (texture[~used] == 0).all()
    assert (texture[used].sum(axis=-1) > 0).all()
