# SPDX-License-Identifier: Apache-2.0
"""Template head that identities deform: skin and inner parts.

What later stages need to know about a vertex (which part, how much it follows the
jaw, which lid it belongs to) is decided here, once per resolution.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from i2z_jax.geometry.topology import Topology
from i2z_jax.synth import chart, inner_parts, landmarks
from i2z_jax.synth.blends import smooth
from i2z_jax.synth.skin_mesh import MM, Ring, SkinMesh, skin_mesh
from i2z_jax.types import Float, NDArray

SKIN, MARGIN, MOUTH = "skin", "margin", "mouth"
# The axis about which the jaw opens, in front of the ears.
JAW_AXIS_Y, JAW_AXIS_Z = -16.0, 2.0


@dataclass(frozen=True, eq=False)
class Template:
    """The neutral head of the default identity."""

    topology: Topology
    vertices: np.ndarray
    """(n, 3) mm. Eyeballs are on the unit sphere, see `eye_sphere`."""
    part: np.ndarray
    """(n,) names of parts."""
    jaw: np.ndarray
    """(n,) jaw skinning weights."""
    lip: np.ndarray
    """(n,) 1 upper, -1 lower lip and its surroundings, 0 elsewhere."""
    skin: SkinMesh


@functools.lru_cache(maxsize=4)
def template(vertices: int) -> Template:
    """Template mesh at a given resolution.

    Args:
        vertices: about how many the mesh should have, 500 or more.
    """
    # Fitted to what the construction yields: skin grows with the square.
    spacing = 0.0112 * (6900 / max(vertices, 400)) ** 0.5
    spacing *= 1 + 0.55 * np.clip((3000 - vertices) / 2500, 0, 1)
    mm = spacing * MM
    skin = skin_mesh(spacing)
    builder = _Builder()
    builder.add(SKIN, skin.vertices, skin.uvs, skin.faces, skin.uv_faces,
                jaw_weight(skin.vertices, skin.lip), skin.lip)  # fmt: skip
    for ring, side in zip(skin.eye_rims, (1, -1), strict=True):
        _add_margin(builder, ring, side)
    _add_mouth(builder, skin.mouth_rim)
    parts = [inner_parts.eye_part(1, mm), inner_parts.eye_part(-1, mm)]
    parts += [inner_parts.teeth_part(True, mm), inner_parts.teeth_part(False, mm)]
    for part in [*parts, inner_parts.tongue_part(mm)]:
        builder.add(part.name, part.vertices, part.uvs, part.faces, part.faces,
                    part.jaw, np.zeros(len(part.vertices)))  # fmt: skip
    return builder.template(skin)


def jaw_weight(
    points: Float[NDArray, "n 3"], lip: Float[NDArray, " n"]
) -> Float[NDArray, " n"]:
    """Jaw skinning weights: a hinge at the ears, discontinuous between the lips."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    turn = np.degrees(np.arctan2(JAW_AXIS_Y - y, z - JAW_AXIS_Z))
    follows = smooth((turn - 16) / 30)
    # Around the slit the two lips part, most in the middle: an almond, no box.
    at_mouth = smooth((27 - x) / 22) * np.exp(-(((y + 74) / 26) ** 4))
    upper = 0.10 * smooth((turn - 16) / 18)
    side = np.where(lip == 0, np.sign(y + 73.5), lip)
    parted = np.where((lip == 0) & (x > 24), follows, np.where(side > 0, upper, 1.0))
    weight = follows + at_mouth * (parted - follows)
    # The nose, and the throat and neck, stay.
    weight *= 1 - np.exp(-0.5 * ((x / 19) ** 2 + ((y + 38) / 11) ** 2)) * (z > 60)
    return weight * smooth((z - 2) / 50) * smooth((y + 165) / 48)


class _Builder:
    def __init__(self):
        self.vertices, self.uvs, self.part = [], [], []
        self.faces, self.uv_faces, self.jaw, self.lip = [], [], [], []
        self.count = self.uv_count = 0

    def add(self, name, vertices, uvs, faces, uv_faces, jaw, lip, *, local=True):
        """Append a patch; with `local` off, faces index the whole mesh already."""
        self.faces.append(faces + (self.count if local else 0))
        self.uv_faces.append(uv_faces + self.uv_count)
        self.vertices.append(vertices)
        self.uvs.append(uvs)
        self.part += [name] * len(vertices)
        self.jaw.append(jaw)
        self.lip.append(lip)
        self.count += len(vertices)
        self.uv_count += len(uvs)

    def template(self, skin: SkinMesh) -> Template:
        vertices, uvs = np.concatenate(self.vertices), np.concatenate(self.uvs)
        faces = np.concatenate(self.faces).astype(np.int32)
        uv_faces = np.concatenate(self.uv_faces).astype(np.int32)
        part, lip = np.array(self.part), np.concatenate(self.lip)
        jaw = np.concatenate(self.jaw)
        skin_faces = slice(0, len(skin.faces))
        where, weights = landmarks.locate(faces[skin_faces], uvs, uv_faces[skin_faces])
        shown = part == SKIN
        side = np.abs(vertices[:, 0])
        eyes = np.char.startswith(part, "eye") | (part == MARGIN)
        around = np.hypot((side - 32) / 24, vertices[:, 1] / 17) < 1
        inside = (part == MOUTH) | (part == "tongue")
        inside |= np.char.startswith(part, "teeth")
        regions = {
            "eyes": eyes | (shown & around & (vertices[:, 2] > 40)),
            "mouth": inside | (shown & (lip != 0)),
            "jaw": shown & (jaw > 0.3) & (lip == 0),
        }
        topology = Topology(
            faces, uvs.astype(np.float32), uv_faces, len(vertices), regions,
            where.astype(np.int32), weights.astype(np.float32),
        )  # fmt: skip
        return Template(topology, vertices, part, jaw, lip, skin)


def _band(outer, inner):
    """Triangles from a ring to one inside it, seen from within the opening."""
    a, b = outer, np.roll(outer, -1)
    c, d = inner, np.roll(inner, -1)
    return np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])


def _add_margin(builder: _Builder, ring: Ring, side: int):
    """The wet edge of the lids: from the skin's rim in to the eyeball."""
    flat = chart.eye_contour(ring.turn)
    sides = np.array([side, 1, 1])
    edge = chart.on_eye(flat * 0.99, 1.025) * sides
    deep = chart.on_eye(flat * 1.06, 0.94) * sides
    rim_angles = chart.eye_ring(ring.turn, 0.0)
    uvs = []
    for t in (0.0, 0.16, 0.3):
        centre = rim_angles.mean(axis=0)
        uvs.append(chart.uv_of(rim_angles + t * (centre - rim_angles)))
    uvs = np.concatenate(uvs)
    if side < 0:
        uvs[:, 0] = 1 - uvs[:, 0]
    count = len(ring.index)
    first = np.arange(count) + builder.count
    outline = [ring.index, first, first + count]
    local = np.arange(count)
    faces = np.concatenate([_band(outline[i], outline[i + 1]) for i in range(2)])
    uv_faces = np.concatenate(
        [_band(local + i * count, local + (i + 1) * count) for i in range(2)]
    )
    if side < 0:
        faces, uv_faces = faces[:, ::-1], uv_faces[:, ::-1]
    zeros = np.zeros(2 * count)
    builder.add(MARGIN, np.concatenate([edge, deep]), uvs, faces, uv_faces, zeros,
                zeros, local=False)  # fmt: skip


def _add_mouth(builder: _Builder, ring: Ring):
    """The oral cavity behind the lips, closed at the back."""
    rings = inner_parts.mouth_rings(ring.turn)
    count = len(ring.index)
    vertices = np.concatenate([*rings, [[0.0, -73.0, 26.0]]])
    lower = np.cos(ring.turn)
    jaw = [smooth(0.5 - lower / s) for s in (0.5, 0.9, 1.2, 1.6, 2.5)]
    index = [ring.index] + [
        builder.count + i * count + np.arange(count) for i in range(len(rings))
    ]
    back = builder.count + len(vertices) - 1
    disc = chart.MOUTH
    radii = disc.radius * np.array([1.0, 0.84, 0.66, 0.48, 0.3, 0.14])
    uvs = [
        np.stack(
            [disc.u + r * np.sin(ring.turn), disc.v + r * np.cos(ring.turn)], axis=-1
        )
        for r in radii
    ]
    uvs = np.concatenate([*uvs, [[disc.u, disc.v]]])
    local = [i * count + np.arange(count) for i in range(len(index))]
    faces = [_band(a, b) for a, b in itertools.pairwise(index)]
    uv_faces = [_band(a, b) for a, b in itertools.pairwise(local)]
    last, tip = index[-1], np.full(count, back)
    faces.append(np.stack([last, np.roll(last, -1), tip], axis=1))
    last, tip = local[-1], np.full(count, len(uvs) - 1)
    uv_faces.append(np.stack([last, np.roll(last, -1), tip], axis=1))
    # Round the mouth runs clockwise seen from in front.
    faces = np.concatenate(faces)[:, ::-1]
    uv_faces = np.concatenate(uv_faces)[:, ::-1]
    lip = np.tile(np.sign(np.round(lower, 6)), len(rings))
    # Near the lips the bag goes with the skin over it, or it would come through.
    front = 3 * count
    jaw = np.append(np.concatenate(jaw), 0.3)
    jaw[:front] = jaw_weight(vertices[:front], lip[:front])
    lip = np.append(lip, 0)
    patch = (vertices, uvs, faces, uv_faces)
    builder.add(MOUTH, *patch, jaw, lip, local=False)
