# SPDX-License-Identifier: Apache-2.0
"""Textures of eyes, teeth, gums, tongue and the inside of the mouth."""

import numpy as np

from i2z_jax.synth import chart
from i2z_jax.synth.appearance import Appearance
from i2z_jax.synth.blends import mix, step
from i2z_jax.synth.identity import Identity
from i2z_jax.synth.inner_parts import EYE_POLAR_END, IRIS_ANGLE
from i2z_jax.synth.noise import fractal

PUPIL_ANGLE = 0.17
SCLERA = np.array([0.56, 0.50, 0.47])
ENAMEL, GUM = np.array([0.68, 0.61, 0.49]), np.array([0.42, 0.15, 0.13])
FLESH, THROAT = np.array([0.40, 0.13, 0.12]), np.array([0.10, 0.02, 0.02])


def _flat(albedo, *, specular, roughness, occlusion, translucence=0.5) -> Appearance:
    """Without relief; layers are numbers or (n,)."""
    one = np.ones(len(albedo))
    return Appearance(
        albedo=albedo,
        specular=specular * one,
        roughness=roughness * one,
        height=np.zeros_like(one),
        occlusion=occlusion * one,
        translucence=translucence * one,
    )


def paint(part: str, who: Identity, points, uv) -> Appearance:
    """Material at the texels of one part."""
    if part.startswith("eye"):
        return _eye(who, uv, chart.LEFT_EYE if part == "eye_left" else chart.RIGHT_EYE)
    if part.startswith("teeth"):
        return _teeth(uv, part == "teeth_upper")
    if part == "tongue":
        bumps = fractal(points, 1 / 1.5, 2, who.seed)
        albedo = np.tile(FLESH * 1.15, (len(uv), 1)) * (1 + 0.12 * bumps[:, None])
        groove = np.exp(-((points[:, 0] / 2.5) ** 2))
        return _flat(albedo, specular=2.0, roughness=0.4, occlusion=0.62 - 0.2 * groove)
    # The mouth darkens towards the throat.
    depth = step(96, 62, points[:, 2])
    albedo = mix(np.tile(FLESH, (len(uv), 1)), THROAT, depth)
    return _flat(
        albedo,
        specular=1.5 * (1 - depth),
        roughness=0.35,
        occlusion=0.75 - 0.68 * depth,
    )


def _eye(who: Identity, uv, disc):
    x = (uv[:, 0] - disc.u) / disc.radius * EYE_POLAR_END
    y = (uv[:, 1] - disc.v) / disc.radius * EYE_POLAR_END
    polar, turn = np.hypot(x, y), np.arctan2(y, x)
    around = np.stack([6 * np.cos(turn), 6 * np.sin(turn), polar * 3], axis=-1)
    fibres = fractal(around * [2, 2, 0.6], 1.0, 3, who.seed + 11)
    iris = np.array(who.iris_colour)
    ring = polar / IRIS_ANGLE
    colour = np.tile(iris, (len(uv), 1)) * (1 + 0.45 * fibres[:, None])
    warm = np.array([0.17, 0.10, 0.04])
    colour = mix(
        colour, warm * (1 + 0.3 * fibres[:, None]), step(0.66, 0.45, ring) * 0.5
    )
    # Light that enters above brightens the far, lower side of the iris.
    colour *= (1.05 - 0.45 * y / IRIS_ANGLE)[:, None]
    colour = mix(colour, iris * 0.18, step(0.80, 0.98, ring))
    colour = mix(colour, np.array([0.004, 0.004, 0.004]),
                  step(PUPIL_ANGLE + 0.02, PUPIL_ANGLE - 0.02, polar))  # fmt: skip
    veins = step(
        0.22, 0.0, np.abs(fractal(np.stack([x, y, 0 * x], -1), 5.0, 3, who.seed))
    )
    white = np.tile(SCLERA, (len(uv), 1))
    # The pink corner by the nose.
    pink = (
        0.9 * step(-0.80, -0.95, x)
        + step(0.75, 1.35, polar) * 0.45
        + 0.10 * veins * step(0.5, 0.9, polar)
    )
    white = mix(white, np.array([0.50, 0.24, 0.20]), pink)
    albedo = mix(colour, white, step(0.93, 1.07, ring))
    # Lids and lashes shade the top of the eye, and its corners.
    shade = 0.72 * step(-0.06, 0.42, y) + 0.15 * step(-0.25, -0.6, y)
    shade += 0.35 * step(0.55, 1.25, np.abs(x))
    return _flat(
        albedo,
        specular=9.0,
        roughness=0.20,
        occlusion=np.clip(1 - shade, 0.2, 1),
        translucence=0.0,
    )


def _teeth(uv, upper):
    box = chart.UPPER_TEETH if upper else chart.LOWER_TEETH
    across = (uv[:, 0] - box.left) / (box.right - box.left) * 2 - 1
    level = (uv[:, 1] - box.bottom) / (box.top - box.bottom)
    level = 1 - level if upper else level
    # Edges between teeth, from the middle outwards: incisors wider than the rest.
    edges = np.array([0, 0.17, 0.31, 0.45, 0.6, 0.76, 0.93, 1.2])
    if not upper:
        edges = np.array([0, 0.12, 0.24, 0.38, 0.53, 0.7, 0.88, 1.2])
    place = np.interp(np.abs(across), edges, np.arange(len(edges)))
    within = np.abs(place - np.floor(place) - 0.5) * 2
    gum = step(0.03, -0.03, level - 0.30 - 0.14 * within**2)
    albedo = np.tile(ENAMEL, (len(uv), 1))
    albedo *= (1 - 0.42 * step(0.86, 0.99, within) - 0.12 * step(0.6, 0.3, level))[
        :, None
    ]
    albedo = mix(albedo, GUM, gum)
    occlusion = (0.95 - 0.85 * np.abs(across) ** 1.3) * (1 - 0.35 * gum)
    return _flat(
        albedo, specular=2.0, roughness=0.22, occlusion=np.clip(occlusion, 0.2, 1)
    )
