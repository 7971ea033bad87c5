# SPDX-License-Identifier: Apache-2.0
"""The skin as a mesh: rings around eyes, mouth and ears, a graded grid between.

Built for the left half and mirrored, so that it is symmetric to the last bit. One
length, `spacing`, sets the resolution.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay

from i2z_jax.synth import chart
from i2z_jax.synth.blends import MIRROR
from i2z_jax.synth.ear import EAR_RINGS, ear_hold, ear_ring, ear_shape
from i2z_jax.synth.form import LID_SCALE, cast
from i2z_jax.types import Float, Int, NDArray

# Approximate mm on the face per texture width.
MM = 300.0


@dataclass(frozen=True)
class Ring:
    """Vertices around an opening, in order, and the parameter of each."""

    index: np.ndarray
    turn: np.ndarray


@dataclass(frozen=True)
class SkinMesh:
    """Vertices in head space (mm), UVs per corner."""

    vertices: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray
    uv_faces: np.ndarray
    lip: np.ndarray
    """(n,) 1 above the slit of the mouth (within its rings), -1 below."""
    eye_rims: tuple[Ring, Ring]
    """Left, right; once around."""
    mouth_rim: Ring
    """Once around, from the top over the left corner."""


def _inside(points: Float[NDArray, "n 2"], ring: Float[NDArray, "k 2"]) -> NDArray:
    """Even-odd rule."""
    a, b = ring[None], np.roll(ring, -1, axis=0)[None]
    p = points[:, None]
    crosses = (a[..., 1] > p[..., 1]) != (b[..., 1] > p[..., 1])
    rise = np.where(b[..., 1] == a[..., 1], 1, b[..., 1] - a[..., 1])
    x = a[..., 0] + (p[..., 1] - a[..., 1]) / rise * (b[..., 0] - a[..., 0])
    return (crosses & (p[..., 0] < x)).sum(axis=1) % 2 == 1


def _bands(rings: list[Int[NDArray, " k"]], closed: bool) -> Int[NDArray, "tri 3"]:
    """Triangles between consecutive rings, the first the innermost."""
    faces = []
    for inner, outer in itertools.pairwise(rings):
        count = len(inner)
        for i in range(count if closed else count - 1):
            j = (i + 1) % count
            faces += [(inner[i], outer[i], outer[j]), (inner[i], outer[j], inner[j])]
    return np.array(faces, int)


class _Half:
    """Accumulates points and triangles of the left half."""

    def __init__(self):
        self.angles, self.faces, self.outlines, self.count = [], [], [], 0

    def add(self, angles: Float[NDArray, "k 2"]) -> Int[NDArray, " k"]:
        self.angles.append(angles)
        self.count += len(angles)
        return np.arange(self.count - len(angles), self.count)

    def rings(self, angles: list, closed: bool) -> list[Int[NDArray, " k"]]:
        index = [self.add(a) for a in angles]
        self.faces.append(_bands(index, closed))
        self.outlines.append(chart.uv_of(angles[-1]))
        return index


def skin_mesh(spacing: float) -> SkinMesh:
    """Mesh of the skin with its UVs.

    Args:
        spacing: of the grid on the face, in texture widths.
    """
    mm = spacing * MM
    half = _Half()
    eye_turn = _steps(max(12, 4 * round(30 / mm)), closed=True)
    levels = np.linspace(0, 1, 1 + max(2, round(12 / mm))) ** 1.15
    eyes = half.rings([chart.eye_ring(eye_turn, t) for t in levels], True)
    mouth_turn = _steps(max(8, 2 * round(48 / mm)), closed=False)
    levels = np.linspace(0, 1, 1 + max(3, round(17 / mm))) ** 1.15
    mouths = half.rings([chart.mouth_ring(mouth_turn, t) for t in levels], False)
    ear_turn = _steps(max(10, 2 * round(68 / mm)), closed=True)
    ear_levels = EAR_RINGS if mm < 7 else EAR_RINGS[::2]
    ears = half.rings([ear_ring(ear_turn, t) for t in ear_levels[1:]], True)
    centre = half.add(ear_ring(np.zeros(1), 0.0))
    inner, hub = ears[0], np.full(len(ears[0]), centre[0])
    half.faces.append(np.stack([hub, inner, np.roll(inner, -1)], axis=1))

    outer = [eyes[-1], mouths[-1], ears[-1]]
    grid = half.add(chart.angles_at(_grid(spacing, half.outlines)))
    angles = np.concatenate(half.angles)
    uvs = chart.uv_of(angles)
    uvs[mouths[0][[0, -1]], 0] = 0.5
    used = np.concatenate([*outer, grid])
    triangles = used[Delaunay(uvs[used]).simplices]
    middle = uvs[triangles].mean(axis=1)
    keep = np.ones(len(triangles), bool)
    for ring in half.outlines:
        keep &= ~_inside(middle, ring)
    half.faces.append(_upright(triangles[keep], uvs))
    faces = _upright(np.concatenate(half.faces), uvs)

    vertices = _place(angles, uvs)
    vertices[eyes[0]] = chart.on_eye(chart.eye_contour(eye_turn), LID_SCALE)
    x = np.round(25.5 * np.sin(mouth_turn), 9)
    vertices[mouths[0]] = chart.lip_line(x)
    vertices[mouths[0], 1] -= 0.08 * np.cos(mouth_turn)
    for level, ring in zip(ear_levels[1:-1], ears[:-1], strict=True):
        hold = ear_hold(ear_turn, level)[:, None]
        vertices[ring] += (1 - hold) * (ear_shape(ear_turn, level) - vertices[ring])
    vertices[centre] = ear_shape(np.zeros(1), 0.0)
    lip = np.zeros(len(angles))
    for ring in mouths:
        lip[ring] = np.sign(np.round(np.cos(mouth_turn), 6))
    return _mirror(vertices, faces, uvs, lip, (eyes[0], eye_turn),
                   (mouths[0], mouth_turn))  # fmt: skip


def _steps(count: int, *, closed: bool) -> Float[NDArray, " k"]:
    if closed:
        return np.arange(count) * 2 * np.pi / count
    return np.linspace(0, np.pi, count + 1)


def _upright(faces, uvs):
    a, b, c = (uvs[faces[:, i]] for i in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    faces = np.where(area[:, None] < 0, faces[:, ::-1], faces)
    return faces[np.abs(area) > 1e-9]


def _grid(spacing: float, outlines: list) -> Float[NDArray, "k 2"]:
    """Rows of points from the middle line, thinner at the crown, and the anchors."""
    rows = round((1 - chart.SKIN_BOTTOM) / spacing)
    points = []
    for row in range(rows + 1):
        v = chart.SKIN_BOTTOM + (1 - chart.SKIN_BOTTOM) * row / rows
        elevation = chart.angles_at(np.array([0.5, v]))[1]
        count = max(2, round(0.5 / spacing * max(np.cos(elevation), 0.08) ** 0.6))
        u = np.arange(count + 1) / count
        if row % 2:
            u[1:-1] -= 0.5 / count
            u[1] = 0.7 / count
        points.append(np.stack([0.5 + u / 2, np.full(count + 1, v)], axis=-1))
    points = np.concatenate(points)
    named = np.array(chart.JAW + chart.BROW + chart.NOSE + chart.FORM, float)
    anchors = chart.uv_of(chart.angles_of(named))
    points = points[_distance(points, anchors) > 0.6 * spacing]
    for ring in outlines:
        points = points[_distance(points, ring) > 0.8 * spacing]
    points = np.concatenate([points, anchors])
    for ring in outlines:
        points = points[~_inside(points, ring)]
    return points


def _distance(points, others):
    return np.linalg.norm(points[:, None] - others[None], axis=-1).min(axis=1)


def _place(angles, uvs):
    angles = angles.copy()
    angles[np.abs(uvs[:, 0] - 0.5) < 1e-9, 0] = 0.0
    vertices = cast(*chart.rays(angles))
    vertices[uvs[:, 1] < chart.SKIN_BOTTOM + 1e-6, 1] = chart.NECK_Y
    vertices[np.abs(uvs[:, 0] - 0.5) < 1e-9, 0] = 0.0
    vertices[np.abs(uvs[:, 0] - 1.0) < 1e-9, 0] = 0.0
    crown = uvs[:, 1] > 1 - 1e-9
    vertices[crown] = vertices[crown].mean(axis=0) * np.array([0, 1, 1])
    return vertices


def _mirror(vertices, faces, uvs, lip, eye, mouth):
    """Both halves as one mesh; the middle line, the back and the crown are shared."""
    count = len(vertices)
    other_uvs = np.stack([1 - uvs[:, 0], uvs[:, 1]], axis=-1)
    middle = np.abs(uvs[:, 0] - 0.5) < 1e-9
    uv_twin = np.where(middle, np.arange(count), np.arange(count) + count)
    all_vertices = np.concatenate([vertices, vertices * MIRROR])
    twin = np.where(vertices[:, 0] == 0, np.arange(count), np.arange(count) + count)
    crown = np.nonzero(uvs[:, 1] > 1 - 1e-9)[0]
    own = np.arange(count)
    own[crown] = crown[0]
    twin[crown] = crown[0]
    all_faces = np.concatenate([own[faces], twin[faces][:, ::-1]])
    uv_faces = np.concatenate([faces, uv_twin[faces][:, ::-1]])
    distinct = (all_faces != np.roll(all_faces, 1, axis=1)).all(axis=1)
    all_faces, uv_faces = all_faces[distinct], uv_faces[distinct]
    used, compact = np.unique(all_faces, return_inverse=True)
    place = np.full(2 * count, -1)
    place[used] = np.arange(len(used))
    uv_used, uv_compact = np.unique(uv_faces, return_inverse=True)
    index, turn = eye
    left = Ring(place[index], turn)
    right = Ring(place[twin[index]], turn)
    index, turn = mouth
    around = Ring(
        np.concatenate([place[index], place[twin[index[1:-1]]][::-1]]),
        np.concatenate([turn, 2 * np.pi - turn[1:-1][::-1]]),
    )
    return SkinMesh(
        all_vertices[used], compact.reshape(all_faces.shape),
        np.concatenate([uvs, other_uvs])[uv_used], uv_compact.reshape(uv_faces.shape),
        np.concatenate([lip, lip])[used], (left, right), around,
    )  # fmt: skip
