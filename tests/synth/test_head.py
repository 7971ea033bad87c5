# SPDX-License-Identifier: Apache-2.0
"""The procedural head: what must hold of its shape, expressions and landmarks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import KDTree

from i2z_jax.geometry.raster import rasterize
from i2z_jax.geometry.topology import landmark_points
from i2z_jax.synth.expressions import NAMES
from i2z_jax.synth.head import ProceduralHead
from i2z_jax.synth.identity import SHAPE_NAMES, Identity

# Left-right pairs of the 68 landmarks: the involution of a mirrored picture.
MIRRORED = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
     45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48,
     59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip
SIZE = 400


@pytest.fixture(scope="module")
def head():
    return ProceduralHead(size=3000)


def weights(**values):
    w = np.zeros(len(NAMES))
    for name, value in values.items():
        w[NAMES.index(name)] = value
    return w


def looked_at(head, vertices):
    """Part name seen by each pixel of a frontal picture, '' for background."""
    x, y, z = vertices.T
    pixels = np.stack([SIZE / 2 + 1.6 * x, SIZE / 2 - 1.6 * (y + 15), 500 - z], axis=-1)
    faces = head.topology.faces
    draw = jax.jit(rasterize, static_argnums=(2, 3))
    triangle = np.asarray(
        draw(jnp.asarray(pixels, jnp.float32), faces, SIZE, SIZE).triangle
    )
    # A triangle between two patches counts as the inner one: the later vertex's.
    part = head._template.part[faces.max(axis=1)]
    return np.where(triangle >= 0, part[triangle], "")


def share(seen, prefix):
    return np.char.startswith(seen, prefix).sum()


def test_about_as_many_vertices_as_asked():
    for asked in (600, 3000, 7000):
        got = ProceduralHead(size=asked).topology.vertex_count
        assert 0.75 * asked < got < 1.3 * asked


def test_at_rest_symmetric(head):
    points = head.neutral
    mirrored = points * [-1, 1, 1]
    assert KDTree(points).query(mirrored)[0].max() < 1e-6
    marks = landmark_points(head.topology, points)
    np.testing.assert_allclose(marks[MIRRORED] * [-1, 1, 1], marks, atol=0.6)


@pytest.mark.parametrize("size", [600, 1200, 3000, 7000])
def test_the_skin_is_open_at_the_neck_only(size):
    head = ProceduralHead(size=size)
    faces, part = head.topology.faces, head._template.part
    soft = np.isin(part, ["skin", "margin", "mouth"])[faces].all(axis=1)
    ends = np.stack([faces[soft], np.roll(faces[soft], -1, axis=1)], -1).reshape(-1, 2)
    # Each edge is walked once in each direction, or it lies on the border.
    walked = {(int(a), int(b)) for a, b in ends}
    assert len(walked) == len(ends)
    border = {a for a, b in walked if (b, a) not in walked}
    border = np.array([v for v in border if part[v] == "skin"])
    assert (head._template.vertices[border, 1] < -160).all()


def test_human_proportions(head):
    points = head.neutral
    marks = landmark_points(head.topology, points)
    crown, chin = points[:, 1].max(), marks[8, 1]
    assert 215 < crown - chin < 245
    skull = points[points[:, 1] > 40]
    assert 145 < np.ptp(skull[:, 0]) < 165
    assert 180 < np.ptp(points[points[:, 1] > -60][:, 2]) < 235  # nose to occiput
    left, right = marks[42:48].mean(axis=0), marks[36:42].mean(axis=0)
    assert 60 < np.linalg.norm(left - right) < 68
    assert 27 < np.linalg.norm(marks[45] - marks[42]) < 33
    assert 45 < np.linalg.norm(marks[54] - marks[48]) < 56
    assert 40 < marks[27, 1] - marks[33, 1] < 60


def test_landmarks_go_from_left_to_right_of_the_picture_and_downwards(head):
    marks = landmark_points(head.topology, head.neutral)
    assert (np.diff(marks[:17, 0]) > 0).all()
    assert (np.diff(marks[17:27, 0]) > 0).all()
    assert (np.diff(marks[27:31, 1]) < 0).all()
    assert (np.diff(marks[31:36, 0]) > 0).all()
    assert marks[36, 0] < marks[39, 0] < marks[42, 0] < marks[45, 0]
    assert marks[48, 0] < marks[54, 0]
    assert marks[51, 1] > marks[62, 1] > marks[57, 1]
    # Closed lips touch.
    assert abs(marks[62, 1] - marks[66, 1]) < 0.5
    assert marks[37, 1] > marks[41, 1]


def test_tiny_and_full_agree():
    marks = [
        landmark_points(h.topology, h.neutral)
        for h in (ProceduralHead(size=600), ProceduralHead(size=7000))
    ]
    distance = np.linalg.norm(marks[0] - marks[1], axis=-1)
    assert np.median(distance) < 1.0
    assert distance.max() < 4.5


def test_sound_triangles_for_everyone(head, rng):
    faces = head.topology.faces
    for _ in range(6):
        person = ProceduralHead(Identity.sample(rng), size=3000)
        points = person.vertices(rng.uniform(0, 0.4, len(NAMES)))
        a, b, c = (points[faces[:, i]] for i in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 2
        assert np.isfinite(points).all()
        assert (area > 1e-4).mean() > 0.999


def test_outer_skin_is_not_folded_by_an_identity(head, rng):
    faces = head.topology.faces
    skin = (head._template.part[faces] == "skin").all(axis=1)

    def normals(points):
        a, b, c = (points[faces[skin, i]] for i in range(3))
        n = np.cross(b - a, c - a)
        return n / np.linalg.norm(n, axis=-1, keepdims=True)

    rest = normals(head.neutral)
    for _ in range(12):
        person = ProceduralHead(Identity.sample(rng), size=3000)
        assert ((normals(person.neutral) * rest).sum(axis=-1) > 0).mean() > 0.995


def test_nothing_shows_through(head, rng):
    """Inside the outline of the face every pixel is covered, mouth open or not."""
    for w in (weights(), weights(jaw_open=1), weights(eye_blink_left=1)):
        seen = looked_at(head, head.vertices(w))
        covered = seen != ""
        rows = np.arange(SIZE)[:, None]
        face = (rows > 60) & (rows < 330)
        left = np.where(covered.any(1), covered.argmax(1), SIZE)[:, None]
        right = np.where(covered.any(1), SIZE - 1 - covered[:, ::-1].argmax(1), 0)[
            :, None
        ]
        columns = np.arange(SIZE)[None]
        between = (columns > left + 30) & (columns < right - 30) & face
        assert covered[between].all()


def test_inside_stays_inside_at_rest(head):
    seen = looked_at(head, head.neutral)
    assert share(seen, "teeth") + share(seen, "tongue") == 0
    assert share(seen, "mouth") < 40


def test_blink_covers_the_eyeball(head):
    open_eyes = looked_at(head, head.neutral)
    shut = looked_at(head, head.vertices(weights(eye_blink_left=1)))
    assert share(open_eyes, "eye_left") > 300
    assert share(shut, "eye_left") < 0.02 * share(open_eyes, "eye_left")
    assert share(shut, "eye_right") == share(open_eyes, "eye_right")


def test_jaw_parts_the_lips(head):
    seen = looked_at(head, head.vertices(weights(jaw_open=1)))
    inside = sum(share(seen, part) for part in ("mouth", "teeth", "tongue"))
    assert inside > 800
    at_rest = landmark_points(head.topology, head.neutral)
    opened = landmark_points(head.topology, head.vertices(weights(jaw_open=1)))
    gap = opened[62] - opened[66]
    assert gap[1] > 20
    # The upper face does not move.
    np.testing.assert_allclose(opened[17:31], at_rest[17:31], atol=0.3)


def test_smile_raises_and_widens_the_corner(head):
    at_rest = landmark_points(head.topology, head.neutral)
    smiling = landmark_points(head.topology, head.vertices(weights(mouth_smile_left=1)))
    move = smiling[54] - at_rest[54]
    assert move[0] > 4
    assert move[1] > 4
    assert np.linalg.norm(smiling[48] - at_rest[48]) < 1


@pytest.mark.parametrize("name", NAMES)
def test_every_control_moves_and_is_mirrored(head, name):
    moved = head.vertices(weights(**{name: 1.0})) - head.neutral
    assert np.linalg.norm(moved, axis=-1).max() > 1
    other = name
    if name.endswith("left"):
        other = name.removesuffix("left") + "right"
    elif name.endswith("right"):
        other = name.removesuffix("right") + "left"
    twin = head.vertices(weights(**{other: 1.0})) * [-1, 1, 1]
    assert KDTree(twin).query(head.neutral + moved)[0].max() < 1e-6


def test_jax_numpy_and_batches_agree(head, rng):
    w = rng.uniform(0, 1, (2, 3, len(NAMES)))
    exact = head.vertices(w)
    assert exact.dtype == np.float64
    assert exact.shape[:2] == (2, 3)
    np.testing.assert_allclose(exact[1, 2], head.vertices(w[1, 2]), atol=1e-9)
    fast = jax.jit(head.vertices)(jnp.asarray(w, jnp.float32))
    np.testing.assert_allclose(fast, exact, atol=2e-3)


def test_same_person_from_same_seed():
    first, second = (Identity.sample(np.random.default_rng(5)) for _ in range(2))
    assert first == second
    assert Identity.sample(np.random.default_rng(6)) != first


def test_shapes_are_what_they_are_called(head):
    def marks(**values):
        usual = dict(zip(SHAPE_NAMES, Identity().shape, strict=True))
        who = Identity(shape=tuple((usual | values).values()))
        person = ProceduralHead(who, size=3000)
        return landmark_points(person.topology, person.neutral)

    usual = marks()
    assert np.ptp(marks(nose_width=1.5)[31:36, 0]) > np.ptp(usual[31:36, 0]) + 1
    assert marks(chin_length=1.5)[8, 1] < usual[8, 1] - 3
    assert marks(eye_spacing=1.5)[42, 0] > usual[42, 0] + 1
    assert len(Identity().shape) == len(SHAPE_NAMES) >= 30
