# SPDX-License-Identifier: Apache-2.0
"""Skin material: albedo, specular, roughness and bump textures (DESIGN 8).

Every texel knows where on the template it lies, so brows, lips, hairline and beard
are described in millimetres on the face, whatever the texture's size. Colours are
linear RGB.
"""

import functools
from typing import NamedTuple

import numpy as np

from i2z_jax.geometry.topology import texel_map
from i2z_jax.synth import chart, eyes_and_teeth
from i2z_jax.synth.appearance import Appearance
from i2z_jax.synth.blends import folded, mix, step
from i2z_jax.synth.form import EYE_AXES, EYE_CENTRE, LID_SCALE, blob, eye_frame
from i2z_jax.synth.identity import Identity
from i2z_jax.synth.landmarks import vermilion
from i2z_jax.synth.noise import fractal, grain
from i2z_jax.synth.template import MARGIN, SKIN, template

# Albedo of unpigmented skin, and absorption by melanin and blood.
BARE = np.array([0.72, 0.50, 0.40])
MELANIN = np.array([1.85, 2.25, 2.55])
BLOOD = np.array([0.10, 0.62, 0.52])
# Size of the mesh used for painting, independent of the rendered one.
PAINTED_VERTICES = 7000


class Ground(NamedTuple):
    """Where each texel lies on the template."""

    points: np.ndarray
    part: np.ndarray
    uv: np.ndarray
    used: np.ndarray


@functools.lru_cache(maxsize=4)
def ground(size: int) -> Ground:
    shape = template(PAINTED_VERTICES)
    texels = texel_map(shape.topology, size, gutter=6)
    triangle = np.maximum(texels.triangle, 0)
    faces = shape.topology.faces[triangle]
    points = (shape.vertices[faces] * texels.barycentric[..., None]).sum(axis=-2)
    # A triangle between two parts (the rim of a lid) belongs to the inner one.
    part = shape.part[faces.max(axis=-1)]
    line = (np.arange(size) + 0.5) / size
    uv = np.stack(np.meshgrid(line, line), axis=-1)
    return Ground(points, part, uv, texels.triangle >= 0)


def paint(identity: Identity, size: int) -> Appearance:
    """Paint the material textures of an identity.

    Args:
        identity: gives complexion, hair and age.
        size: rows and columns of the textures.
    """
    place = ground(size)
    shown = (place.part == SKIN) | (place.part == MARGIN)
    shape = (size, size)
    textures = Appearance(
        albedo=np.full((*shape, 3), 0.2),
        specular=np.zeros(shape),
        roughness=np.full(shape, 0.5),
        height=np.zeros(shape),
        occlusion=np.ones(shape),
        translucence=np.zeros(shape),
    )
    skin = _skin(identity, place.points[shown], place.uv[shown],
                 place.part[shown] == MARGIN, size)  # fmt: skip
    _assign(textures, shown, skin)
    for name in np.unique(place.part[~shown]):
        here = place.part == name
        painted = eyes_and_teeth.paint(
            str(name), identity, place.points[here], place.uv[here]
        )
        _assign(textures, here, painted)
    textures.albedo[~place.used] = BARE * 0.4
    np.clip(textures.albedo, 0, 1, out=textures.albedo)
    return Appearance(*(texture.astype(np.float32) for texture in textures))


def _assign(textures: Appearance, where, part: Appearance) -> None:
    for texture, values in zip(textures, part, strict=True):
        texture[where] = values


def complexion(melanin, blood):
    """Skin albedo for given melanin and blood concentrations; broadcasts."""
    melanin, blood = np.asarray(melanin)[..., None], np.asarray(blood)[..., None]
    return BARE * np.exp(-MELANIN * melanin - BLOOD * blood)


def _skin(who: Identity, p, uv, margin, size) -> Appearance:
    q = folded(p)
    angles = chart.angles_at(uv)
    fine = grain(size, who.seed)[_rows(uv, size)]
    blotch = fractal(p, 1 / 22, 3, who.seed)
    lips = lip_mask(p)
    ear = ear_mask(angles)
    face = step(10, 50, p[:, 2])
    blood = 0.24 + 0.22 * who.redness + 0.05 * blotch * (0.6 + who.age)
    flush = (
        0.75 * blob(q, (38, -36, 76), (17, 14, 40))
        + 0.55 * blob(q, (0, -38, 116), (13, 9, 20))
        + 0.40 * blob(q, (0, -100, 92), (15, 10, 30))
        + 0.30 * blob(q, (0, 45, 90), (30, 16, 40))
        + 0.75 * ear
        + 0.35 * blob(q, (16, -46, 96), (7, 6, 14))
    )
    blood += flush * (0.10 + 0.28 * who.redness)
    melanin = who.melanin * (0.62 + 0.03 * blotch) + 0.045
    melanin += 0.02 * fractal(p, 1 / 6, 2, who.seed + 1) * (0.5 + who.age)
    # The thin skin of the lids and under the eyes is darker and bluer.
    under = blob(q, (28, -13, 78), (14, 6, 20)) + 0.8 * blob(
        q, (33, 9, 80), (14, 5, 20)
    )
    under += 0.8 * blob(q, (18, -2, 80), (5, 7, 14))
    melanin += under * (0.035 + 0.05 * who.age)
    blood += under * 0.10
    freckles = step(0.52, 0.70, fractal(p, 1 / 1.9, 2, who.seed + 2))
    across = blob(q, (22, -22, 88), (26, 14, 40)) + 0.3 * face
    melanin += freckles * across * who.freckles * 0.24
    melanin += 0.55 * _moles(p, who.seed) * face
    melanin += lips * (0.05 + 0.12 * who.melanin)
    blood += lips * (0.62 + 0.15 * fine)
    blood = np.where(margin, blood + 0.35, blood)
    albedo = complexion(melanin, np.maximum(blood, 0))
    albedo *= 1 + 0.030 * fine[:, None]

    hair_colour = np.array(who.hair_colour)
    beard = beard_mask(q) * (1 - lips) * who.stubble
    dots = step(-0.2, 1.2, grain(size, who.seed + 5)[_rows(uv, size)])
    albedo = mix(albedo, hair_colour * 0.8 + 0.02, beard * (0.22 + 0.45 * dots))
    brow = brow_hairs(q, who)
    albedo = mix(albedo, hair_colour * 0.9, brow * who.brows)
    hair = scalp_mask(p, angles, who) * (1 - ear)
    strands = fractal(p * [1.1, 0.35, 0.5], 1.1, 2, who.seed + 3)
    cover = hair * who.hair * np.clip(0.97 + 0.13 * strands, 0, 1)
    albedo = mix(albedo, hair_colour * (1 + 0.22 * strands[:, None]), cover)
    lash = lash_line(q)
    albedo = mix(albedo, hair_colour * 0.35, lash)

    oil = blob(q, (0, 40, 92), (26, 24, 40)) + blob(q, (0, -22, 106), (12, 22, 20))
    oil += 0.5 * blob(q, (40, -22, 70), (14, 10, 30))
    specular = (1.0 + 0.35 * fine) * (1 + 0.35 * oil) + 0.9 * lips + 0.4 * margin
    specular *= (1 - 0.6 * cover) * (1 - 0.4 * brow)
    roughness = 0.50 - 0.10 * oil - 0.16 * lips - 0.25 * margin + 0.12 * cover
    height = 0.035 * fine * face * (1 - lips) + _lines(q, who, lips)
    height += 0.10 * strands * cover + 0.06 * brow + 0.03 * beard * dots
    return Appearance(
        albedo=albedo,
        specular=specular,
        roughness=np.clip(roughness, 0.15, 0.9),
        height=height,
        occlusion=_occlusion(q, margin),
        translucence=np.ones(len(p)),
    )


def _rows(uv, size):
    index = np.clip((uv * size).astype(int), 0, size - 1)
    return index[:, 1], index[:, 0]


def lip_mask(p):
    """1 on the red of the lips."""
    x = np.clip(np.abs(p[:, 0]), 0, 25.4)
    over, under = vermilion(x, True)[:, 1], vermilion(x, False)[:, 1]
    inside = np.minimum(over - p[:, 1], p[:, 1] - under)
    near = (np.abs(p[:, 0]) < 26.5) & (p[:, 2] > 68)
    return step(-0.7, 0.9, inside) * near


def ear_mask(angles):
    centre = chart.angles_of(np.array([70.0, -4.0, -7.0]))
    d = (np.abs(angles) * [1, 0] + angles * [0, 1] - centre) / [0.215, 0.37]
    return 1 - step(0.85, 1.05, np.linalg.norm(d, axis=1))


def beard_mask(q):
    jaw = step(-44, -62, q[:, 1]) * step(2, 22, q[:, 2])
    # Bare cheeks: the beard's edge runs from the sideburn to the corner of the mouth.
    edge = -18 - 0.62 * np.clip(q[:, 2] - 20, 0, 60)
    cheek = step(3, -9, q[:, 1] - edge)
    side = blob(q, (66, -20, 14), (14, 20, 10))
    moustache = blob(q, (9, -61, 98), (13, 4.2, 14))
    under = step(-150, -118, q[:, 1])
    centre = step(60, 40, q[:, 2]) + step(-80, -92, q[:, 1]) + moustache
    return np.clip(jaw * cheek * under * np.clip(centre + 0.55, 0, 1) + side, 0, 1)


BROW_X = [8, 12, 20, 30, 40, 48, 55]
BROW_Y = [17.0, 18.5, 21.0, 24.0, 24.3, 20.5, 14.5]
BROW_HALF = [2.5, 3.8, 3.7, 3.2, 2.5, 1.7, 0.6]


def brow_hairs(q, who: Identity):
    x = q[:, 0]
    off = q[:, 1] - np.interp(x, BROW_X, BROW_Y)
    half = np.interp(x, BROW_X, BROW_HALF, left=0.01, right=0.01)
    inside = step(1.45, 0.45, np.abs(off) / half) * step(8, 15, x) * step(57, 48, x)
    inside *= q[:, 2] > 40
    # Hairs stand up at the nose and lie down towards the temple.
    lean = np.radians(np.interp(x, [10, 20, 35, 55], [68, 40, 18, -22]))
    along = x * np.cos(lean) + q[:, 1] * np.sin(lean)
    across = q[:, 1] * np.cos(lean) - x * np.sin(lean)
    across = across + 0.22 * fractal(q, 1 / 3.0, 2, who.seed + 9)
    strokes = fractal(
        np.stack([along * 0.13, across * 2.2, 0 * x], axis=-1), 1.0, 2, who.seed + 4
    )
    return inside * np.clip(0.80 + 0.42 * strokes, 0.15, 1)


HAIRLINE_TURN = [0, 14, 28, 38, 46, 54, 62, 69, 74, 84, 88, 106, 112, 125, 150, 180]
HAIRLINE_Y = [64, 65, 63, 57, 44, 30, 17, 4, -16, -18, 24, 26, -34, -46, -56, -60]


def scalp_mask(p, angles, who: Identity):
    turn = np.degrees(np.abs(angles[:, 0]))
    line = np.interp(turn, HAIRLINE_TURN, HAIRLINE_Y)
    front = step(70, 30, turn)
    line = line + front * who.hairline * (1 + 0.8 * np.exp(-(((turn - 34) / 12) ** 2)))
    ragged = 2.4 * fractal(p, 1 / 4.0, 2, who.seed + 6)
    return step(-5, 6, p[:, 1] - line + ragged)


def lid_coordinates(q):
    """Coordinates around the left eye.

    Returns:
        position in the eye's frame (n, 3), height above the upper and below the lower
        lid margin (n,), all mm, and a mask (n,) of points near the eye.
    """
    local = (q - EYE_CENTRE) @ eye_frame()
    x = np.clip(local[:, 0], -15, 15)
    turn = np.arccos(x / 15)
    over = local[:, 1] - chart.eye_contour(turn)[:, 1]
    under = chart.eye_contour(-turn)[:, 1] - local[:, 1]
    near = np.linalg.norm(local / (EYE_AXES * LID_SCALE), axis=1) < 1.25
    return local, over, under, near & (local[:, 2] > 0)


def lash_line(q):
    local, over, under, near = lid_coordinates(q)
    ends = step(16.5, 13.5, np.abs(local[:, 0]))
    upper = step(1.5, 0.5, over) * step(-1.6, -0.5, over)
    lower = 0.35 * step(1.1, 0.2, under) * step(-0.5, 0.1, under)
    return np.clip(0.92 * upper + lower, 0, 1) * near * ends


def _moles(p, seed):
    rng = np.random.default_rng(seed)
    marks = np.zeros(len(p))
    shape = template(PAINTED_VERTICES)
    x, y, z = shape.skin.vertices.T
    places = shape.skin.vertices[(np.abs(x) < 62) & (np.abs(y + 25) < 80) & (z > 40)]
    for centre in rng.choice(places, 5):
        d = np.linalg.norm(p - centre, axis=1)
        marks = np.maximum(marks, rng.uniform(0.15, 0.8) * step(1.3, 0.4, d))
    return marks


def _lines(q, who: Identity, lips):
    """Creases of the lips, and of age: forehead, beside the eyes, under them."""
    x, y, z = q.T
    cracks = fractal(np.stack([x * 0.9, y * 0.12, 0 * z], -1), 1.0, 2, who.seed + 7)
    height = 0.10 * cracks * lips
    wave = y + 2.0 * np.sin(x / 17) + 1.2 * fractal(q, 1 / 18, 2, who.seed + 8)
    brow = blob(q, (0, 46, 90), (34, 15, 40))
    height -= 0.22 * who.age * brow * np.exp(-((np.mod(wave, 8.5) - 4.2) ** 2))
    local, over, _under, near = lid_coordinates(q)
    height -= 0.30 * near * np.exp(-(((over - 6.8) / 0.7) ** 2)) * (local[:, 1] > 0)
    spread = np.mod((local[:, 1] + 2) / np.maximum(local[:, 0] - 8, 2), 0.3) - 0.15
    crow = blob(q, (54, -2, 62), (6, 9, 14))
    return height - 0.20 * who.age * crow * np.exp(-((spread / 0.05) ** 2))


def _occlusion(q, margin):
    """Soft shadow of the surroundings in the hollows of the face."""
    shade = 0.34 * blob(q, (17, 6, 80), (7, 8, 11))
    shade += 0.10 * blob(q, (32, 11, 77), (15, 5, 10))
    shade += 0.90 * blob(q, (6.3, -48.6, 104.0), (2.7, 2.3, 4.0))
    shade += 0.14 * blob(q, (8, -51, 98), (10, 4, 9))
    shade += 0.30 * blob(q, (19.5, -44, 90), (2.5, 6, 7))
    slit = np.exp(-((q[:, 1] + 72.9) ** 2) / 1.6) * (q[:, 2] > 70)
    shade += 0.50 * slit * step(26.5, 20, q[:, 0])
    shade += 0.25 * blob(q, (0, -89, 92), (14, 3, 10))
    shade += 0.45 * blob(q, (0, -125, 40), (50, 14, 40))
    shade += 0.45 * blob(q, (72, -6, -4), (4, 9, 9))
    shade += 0.35 * blob(q, (70, -4, -26), (7, 26, 9))
    return np.clip(1 - shade - 0.15 * margin, 0.08, 1)
