# SPDX-License-Identifier: Apache-2.0
"""What is not skin: eyeballs, lid margins, the inside of the mouth, teeth, tongue.

Each part is a small grid of its own with its own UV island (`chart`).
"""

from dataclasses import dataclass

import numpy as np

from i2z_jax.synth import chart
from i2z_jax.synth.form import EYE_AXES
from i2z_jax.types import Float, NDArray

# Polar angle of the iris on the eyeball's unit sphere: 5.9 mm of 13.
IRIS_ANGLE = 0.47
# Polar angle (rad) at which the modelled eyeball ends; it maps to its UV island's rim.
EYE_POLAR_END = 1.75


@dataclass(frozen=True)
class Part:
    """A mesh patch; `faces` index `vertices` and `uvs`, `jaw` is (n,) in [0, 1]."""

    name: str
    vertices: np.ndarray
    uvs: np.ndarray
    faces: np.ndarray
    jaw: np.ndarray


def _polar(rings: int, around: int):
    """Faces of a fan and bands around vertex 0, counter-clockwise from outside."""
    faces = [(0, 1 + i, 1 + (i + 1) % around) for i in range(around)]
    for ring in range(rings - 1):
        a = 1 + ring * around
        for i in range(around):
            j = (i + 1) % around
            faces += [
                (a + i, a + i + around, a + j + around),
                (a + i, a + j + around, a + j),
            ]
    return np.array(faces)


def eye_sphere(polar: Float[NDArray, " k"], turn: Float[NDArray, " k"]):
    """Points of the unit eyeball.

    Args:
        polar: angle from the line of sight, rad.
        turn: angle about it, rad.
    """
    # The eye's surface is wider than high: the iris is drawn narrower on it.
    narrow = EYE_AXES[1] / EYE_AXES[0]
    local = np.stack(
        [
            np.sin(polar) * np.cos(turn),
            np.sin(polar) * np.sin(turn),
            np.cos(polar),
        ],
        axis=-1,
    )
    blend = np.clip((polar - IRIS_ANGLE) / 0.9, 0, 1)
    local[:, 0] *= narrow + (1 - narrow) * blend
    return local / np.linalg.norm(local, axis=-1, keepdims=True)


def eye_part(side: int, mm: float) -> Part:
    around = max(10, 2 * round(28 / mm))
    polar = np.array([0.16, 0.3, 0.42, 0.5, 0.66, 0.85, 1.1, 1.4, EYE_POLAR_END])
    if mm > 7:
        polar = np.array([0.47, 0.95, EYE_POLAR_END])
    turn = np.arange(around) * 2 * np.pi / around
    p, t = np.meshgrid(polar, turn, indexing="ij")
    p, t = np.append(0, p.ravel()), np.append(0, t.ravel())
    # Mirrored eyes turn the other way, so that left and right match.
    t = t if side > 0 else np.pi - t
    sphere = eye_sphere(p, t)
    disc = chart.LEFT_EYE if side > 0 else chart.RIGHT_EYE
    r = disc.radius * p / EYE_POLAR_END
    uvs = np.stack([disc.u + r * np.cos(t), disc.v + r * np.sin(t)], axis=-1)
    faces = _polar(len(polar), around)
    name = "eye_left" if side > 0 else "eye_right"
    return Part(name, sphere, uvs, faces, np.zeros(len(sphere)))


def teeth_part(upper: bool, mm: float) -> Part:
    """A row of teeth with its gum: an arch, closed towards the tongue."""
    count = max(6, 2 * round(26 / mm))
    turn = np.linspace(-1.35, 1.35, count + 1)
    wide, deep = (22.0, 35.0) if upper else (20.5, 32.5)
    # Rows from the gum over the edge to the back: height, depth, v.
    rows = [(13.0, -2.0, 0.0), (8.0, 0.0, 0.4), (0.6, 0.4, 0.9), (0.0, -2.0, 1.0),
            (7.0, -6.0, 0.55)]  # fmt: skip
    box = chart.UPPER_TEETH if upper else chart.LOWER_TEETH
    sign, edge = (1, -74.6) if upper else (-1, -75.2)
    vertices, uvs = [], []
    for height, depth, v in rows:
        vertices.append(
            np.stack(
                [
                    (wide + depth) * np.sin(turn),
                    edge + sign * height + sign * 1.5 * (1 - np.cos(turn)),
                    52 + (deep + depth) * np.cos(turn),
                ],
                axis=-1,
            )
        )
        # Upside down for the upper row, so that both islands show teeth upright.
        level = box.top + v * (box.bottom - box.top)
        if not upper:
            level = box.bottom + v * (box.top - box.bottom)
        across = box.left + (box.right - box.left) * (turn / 2.7 + 0.5)
        uvs.append(np.stack([across, np.full(count + 1, level)], axis=-1))
    faces = []
    for row in range(len(rows) - 1):
        for i in range(count):
            a = row * (count + 1) + i
            b = a + count + 1
            faces += [(a, b, b + 1), (a, b + 1, a + 1)]
    faces = np.array(faces) if upper else np.array(faces)[:, ::-1]
    vertices = np.concatenate(vertices)
    name = "teeth_upper" if upper else "teeth_lower"
    jaw = np.full(len(vertices), 0.0 if upper else 1.0)
    return Part(name, vertices, np.concatenate(uvs), faces, jaw)


def tongue_part(mm: float) -> Part:
    around, rings = max(8, 2 * round(26 / mm)), max(2, round(20 / mm))
    turn = np.arange(around) * 2 * np.pi / around
    level = np.arange(1, rings + 1) / rings
    r, t = np.meshgrid(level, turn, indexing="ij")
    r, t = np.append(0, r.ravel()), np.append(0, t.ravel())
    x, z = np.sin(t) * r, np.cos(t) * r
    height = np.sqrt(np.maximum(1 - r * r, 0)) - 0.18 * np.exp(-((x / 0.2) ** 2))
    vertices = np.stack([18 * x, -88 + 9 * height, 54 + 27 * z], axis=-1)
    disc = chart.TONGUE
    uvs = np.stack([disc.u + disc.radius * x, disc.v - disc.radius * z], axis=-1)
    return Part("tongue", vertices, uvs, _polar(rings, around), np.ones(len(vertices)))


def mouth_rings(turn: Float[NDArray, " k"]) -> list[Float[NDArray, "k 3"]]:
    """Rings from the lips inwards to the back of the mouth (its rim not included)."""
    s, c = np.sin(turn), np.cos(turn)
    x = np.abs(s) ** 0.8 * np.sign(s)
    rings = []
    for wide, high, deep, curve in [
        (24.8, 1.6, 91.0, 0.0185),
        (22.5, 7.0, 86.0, 0.026),
        (22.0, 11.0, 76.0, 0.024),
        (22.0, 15.0, 46.0, 0.004),
        (16.0, 12.0, 30.0, 0.0),
    ]:
        rings.append(
            np.stack(
                [wide * x, -73.5 + high * c, deep - curve * (wide * x) ** 2], axis=-1
            )
        )
    return rings
