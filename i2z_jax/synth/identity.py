# SPDX-License-Identifier: Apache-2.0
"""Identity: continuous parameters of shape and colour (DESIGN section 8).

Shape parameters are in standard deviations of people, roughly; each is a smooth
displacement of the template, so landmarks and expressions go with it. Around the eyes
displacements are held rigid, so that lids keep fitting eyeballs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from i2z_jax.synth.blends import folded, smooth
from i2z_jax.synth.form import EYE_CENTRE, blob
from i2z_jax.types import Float, NDArray


def _sided(p, weight, x, y, z):
    """A displacement mirrored in x: `x` is outward."""
    return weight[:, None] * np.stack(
        [np.sign(p[:, 0]) * x, np.full(len(p), y), np.full(len(p), z)], axis=-1
    )


def _pair(p, centre, radii, x, y, z):
    # No step at the middle line.
    soft = np.minimum(np.abs(p[:, 0]) / 8, 1)
    d = _sided(p, blob(folded(p), centre, radii), x, y, z)
    d[:, 0] *= soft
    return d


def _scale(p, weight, x, y, z):
    return weight[:, None] * p * np.array([x, y, z])


Shape = Callable[[np.ndarray], np.ndarray]
SHAPES: dict[str, Shape] = {
    "width": lambda p: _scale(p, np.ones(len(p)), 0.03, 0, 0),
    "depth": lambda p: _scale(p, np.ones(len(p)), 0, 0, 0.03),
    "crown": lambda p: _scale(p, smooth((p[:, 1] - 10) / 90), 0, 0.045, 0),
    "face_length": lambda p: _scale(p, smooth((-10 - p[:, 1]) / 60), 0, 0.04, 0),
    "forehead_slope": lambda p: _sided(p, blob(p, (0, 75, 80), (50, 32, 40)), 0, 0, -4),
    "brow_ridge": lambda p: _pair(p, (22, 18, 86), (20, 9, 14), 0, -0.6, 2.4),
    "cheekbones": lambda p: _pair(p, (58, -18, 46), (16, 15, 26), 3.2, 0.6, 1.6),
    "cheeks": lambda p: _pair(p, (44, -58, 52), (18, 24, 34), 4.2, 0, 2.4),
    "jaw_width": lambda p: _pair(p, (50, -76, 18), (22, 22, 34), 4.0, 0, 0),
    "jaw_drop": lambda p: _pair(p, (46, -84, 30), (22, 20, 34), 0, -3.5, 0),
    "chin_length": lambda p: _sided(
        p, blob(p, (0, -108, 82), (30, 17, 34)), 0, -4.5, 0
    ),
    "chin_forward": lambda p: _sided(
        p, blob(p, (0, -104, 90), (24, 16, 26)), 0, 0, 3.6
    ),
    "chin_width": lambda p: _pair(p, (18, -104, 80), (14, 15, 20), 3.4, 0, 0),
    "double_chin": lambda p: _sided(p, blob(p, (0, -118, 48), (34, 14, 26)), 0, -4, 1),
    "neck": lambda p: _scale(p, smooth((-95 - p[:, 1]) / 40), 0.06, 0, 0.04),
    "nose_length": lambda p: _sided(
        p, blob(p, (0, -42, 106), (18, 13, 22)), 0, -3.0, 0
    ),
    "nose_width": lambda p: _pair(p, (15, -42, 98), (9, 11, 16), 2.0, 0, 0),
    "nose_out": lambda p: _sided(p, blob(p, (0, -36, 110), (12, 15, 16)), 0, 0, 3.2),
    "nose_bridge": lambda p: _sided(p, blob(p, (0, -8, 96), (8, 14, 14)), 0, 0, 2.0),
    "nose_tip_up": lambda p: _sided(p, blob(p, (0, -40, 115), (11, 9, 13)), 0, 2.2, 0),
    "bridge_width": lambda p: _pair(p, (8, -14, 90), (6, 17, 14), 1.2, 0, 0),
    "mouth_width": lambda p: _scale(p, blob(p, (0, -74, 90), (30, 16, 30)), 0.07, 0, 0),
    "mouth_height": lambda p: _sided(p, blob(p, (0, -74, 92), (34, 18, 40)), 0, 1.8, 0),
    "lip_upper": lambda p: _sided(p, blob(p, (0, -67, 99), (17, 4.5, 9)), 0, 0.9, 1.3),
    "lip_lower": lambda p: _sided(p, blob(p, (0, -80, 98), (16, 5, 9)), 0, -0.8, 1.4),
    "eye_spacing": lambda p: _pair(p, (32, 0, 72), (16, 15, 26), 1.2, 0, 0),
    "eye_height": lambda p: _pair(p, (32, 4, 72), (22, 18, 26), 0, 1.3, 0),
    "eye_depth": lambda p: _pair(p, (32, 0, 74), (17, 15, 26), 0, 0, -1.3),
    "brow_height": lambda p: _pair(p, (33, 23, 80), (20, 7, 18), 0, 1.6, 0),
    "ear_size": lambda p: _ears(p, 0.07, 0),
    "ear_flare": lambda p: _ears(p, 0, 2.2),
}
# The eye itself: size, tilt of the axis, how open it is.
EYES = ("eye_size", "eye_tilt", "eye_open")
# Correlated shape parameters: one factor from delicate to heavy features.
BUILD = {"jaw_width": 0.8, "jaw_drop": 0.5, "brow_ridge": 0.9, "chin_width": 0.7,
         "neck": 0.9, "face_length": 0.4, "nose_width": 0.4, "nose_out": 0.3,
         "lip_upper": -0.5, "lip_lower": -0.4, "eye_size": -0.5, "eye_open": -0.3,
         "brow_height": -0.5}  # fmt: skip
HEAVY = ("jaw_width", "chin_width", "neck")
SHAPE_NAMES: tuple[str, ...] = (*SHAPES, *EYES)


def _ears(p, size, flare):
    left = folded(p)
    w = blob(left, (80, -4, -14), (9, 40, 24)) * (np.abs(p[:, 0]) > 60)
    w = w * smooth((np.abs(p[:, 0]) - 68) / 14)
    centre = np.array([70.0, -4.0, -7.0])
    d = w[:, None] * (left - centre) * np.array([0, size, size])
    d[:, 0] += w * flare * np.sign(p[:, 0])
    return d


@dataclass(frozen=True)
class Identity:
    """Parameters of a person.

    The default is the template with an average complexion.
    """

    shape: tuple[float, ...] = (0.0,) * len(SHAPE_NAMES)
    """Along `SHAPE_NAMES`, in standard deviations."""
    melanin: float = 0.22
    """0 (very fair) to 1 (very dark)."""
    redness: float = 0.5
    """Blood under the skin, 0 to 1."""
    hair_colour: tuple[float, float, float] = (0.045, 0.028, 0.018)
    """Brows, lashes, stubble and scalp; linear RGB."""
    iris_colour: tuple[float, float, float] = (0.13, 0.075, 0.035)
    """Linear RGB."""
    hair: float = 0.95
    """How dense the cropped hair is, 0 (shaven) to 1."""
    hairline: float = 0.0
    """Recession of the hairline, mm."""
    brows: float = 0.75
    stubble: float = 0.2
    """0 (none) to 1 (a day's beard)."""
    freckles: float = 0.15
    age: float = 0.3
    """Lines and unevenness, 0 (young) to 1 (old)."""
    seed: int = 0
    """Places pores, moles and single hairs."""

    @staticmethod
    def sample(rng: np.random.Generator) -> "Identity":
        """Draw a random identity."""
        heavy = float(np.clip(rng.normal(), -1.7, 1.7))
        shape = np.clip(rng.normal(size=len(SHAPE_NAMES)), -1.8, 1.8)
        shape += heavy * np.array([BUILD.get(name, 0.0) for name in SHAPE_NAMES])
        shape = np.clip(shape - 0.25 * np.isin(SHAPE_NAMES, HEAVY), -2.2, 2.2)
        melanin = float(rng.beta(1.1, 1.9))
        dark = np.array([0.012, 0.009, 0.007])
        brown, blond = np.array([0.07, 0.037, 0.018]), np.array([0.28, 0.17, 0.07])
        red, grey = np.array([0.2, 0.06, 0.018]), np.array([0.3, 0.29, 0.28])
        fair = np.clip(rng.beta(1.2, 1.6) * 1.5 - melanin * 2.2, 0, 1)
        hair = dark + fair * (brown - dark) * 1.2
        if fair > 0.75:
            hair = (
                red if rng.random() < 0.25 else brown + (fair - 0.5) * (blond - brown)
            )
        age = float(rng.beta(1.4, 2.2))
        hair = hair + (grey - hair) * np.clip(age * 2 - 1.1, 0, 0.8)
        irises = np.array(
            [
                [0.05, 0.025, 0.012],
                [0.13, 0.075, 0.03],
                [0.16, 0.16, 0.07],
                [0.13, 0.2, 0.27],
                [0.2, 0.24, 0.26],
            ]
        )
        light = np.clip(rng.random() * 4.4 * (1 - 1.8 * melanin) + 0.3, 0, 4)
        low = min(int(light), 3)
        iris = irises[low] + (light - low) * (irises[low + 1] - irises[low])
        return Identity(
            shape=tuple(float(s) for s in shape),
            melanin=melanin,
            redness=float(rng.uniform(0.25, 0.8)),
            hair_colour=_triple(hair),
            iris_colour=_triple(iris),
            hair=float(rng.beta(3, 1.2)),
            hairline=float(max(0, rng.normal(0, 6))),
            brows=float(rng.uniform(0.45, 1.0)),
            stubble=float(max(0, rng.uniform(-0.9, 0.5) + 0.5 * heavy)),
            freckles=float(np.clip(rng.beta(1, 5) * (1 - melanin) * 2, 0, 1)),
            age=age,
            seed=int(rng.integers(2**31)),
        )


def _triple(colour) -> tuple[float, float, float]:
    return float(colour[0]), float(colour[1]), float(colour[2])


@dataclass(frozen=True)
class EyePlace:
    """Where an identity's left eye is; the right one mirrors it."""

    centre: np.ndarray
    scale: float
    tilt: float
    """rad, the outer corner up."""
    closed: float = field(default=0.0)
    """Share of the opening that the upper lid covers at rest."""


def deform(
    points: Float[NDArray, "n 3"], identity: Identity
) -> tuple[Float[NDArray, "n 3"], EyePlace]:
    """Template vertices deformed to this identity, and the eyes' placement."""
    values = dict(zip(SHAPE_NAMES, identity.shape, strict=True))

    def field_at(p):
        d = np.zeros_like(p)
        for name, shape in SHAPES.items():
            if values[name]:
                d += values[name] * shape(p)
        return d

    shift = field_at(EYE_CENTRE[None] + [0, 0, 10.0])[0]
    place = EyePlace(
        centre=EYE_CENTRE + shift,
        scale=1 + 0.035 * values["eye_size"],
        tilt=0.045 * values["eye_tilt"],
        closed=0.11 - 0.06 * values["eye_open"],
    )
    moved = points + field_at(points)
    for side in (1, -1):
        sign = np.array([side, 1, 1])
        local = points * sign - EYE_CENTRE
        r = np.linalg.norm(local / [25, 20, 26], axis=1)
        hold = 1 - smooth((r - 0.72) / 0.55)
        hold *= points[:, 0] * side > 0
        rigid = place_eye(local, place) * sign
        moved += hold[:, None] * (rigid - moved)
    return moved, place


def place_eye(local: Float[NDArray, "n 3"], place: EyePlace) -> Float[NDArray, "n 3"]:
    """Points around the template's left eye (from its centre) to head space."""
    c, s = np.cos(place.tilt), np.sin(place.tilt)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return place.centre + place.scale * local @ turn.T
