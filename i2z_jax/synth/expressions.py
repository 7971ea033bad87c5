# SPDX-License-Identifier: Apache-2.0
"""Expression controls: about forty, with ARKit-like names (DESIGN section 8).

Three mechanisms. Muscles push the skin along fixed displacements; lids turn about
the eyeball, so that they slide over it; the jaw turns about an axis in front of the
ears. Left and right are the subject's. Weight 1 is a strong expression; all weights 0
give exactly the neutral face.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from i2z_jax.synth.blends import MIRROR, smooth
from i2z_jax.synth.chart import eye_contour
from i2z_jax.synth.form import (
    EYE_AXES,
    EYE_CENTRE,
    LID_SCALE,
    Length,
    blob,
    eye_frame,
)
from i2z_jax.synth.template import MARGIN, MOUTH, SKIN, Template
from i2z_jax.types import Float, NDArray

Points = Float[NDArray, "n 3"]
Push = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _v(weight: np.ndarray, x: Length, y: Length, z: Length) -> np.ndarray:
    return weight[:, None] * np.array([x, y, z])


def _half(p):
    """1 on the left side, 0 on the right, blended over the middle."""
    return smooth(0.5 + p[:, 0] / 16)


def _lips(p, wide=24.0, high=17.0):
    return blob(p, (0, -74, 92), (wide, high, 26))


def _corner(p, radius=15.0):
    return blob(p, (26, -73, 84), (radius, radius * 0.85, 22))


def _smile(p, lip):
    d = _v(_corner(p, 13), 7.5, 8.5, -6.0)
    d += _v(blob(p, (39, -46, 66), (15, 14, 20)), 2.0, 4.5, 5.5)  # cheek bunches
    d += _v(blob(p, (21, -58, 88), (6, 10, 14)), 1.5, 2.0, -2.0)  # fold deepens
    d += _v(blob(p, (36, -20, 74), (13, 7, 18)), 0.3, 2.2, 1.0)
    # Lips are drawn flat against the teeth.
    return d + _v(_lips(p, 16, 9) * _half(p), 0.8, 1.5, -1.8)


def _frown(p, lip):
    d = _v(_corner(p, 12), -0.5, -7.5, -1.0)
    d += _v(blob(p, (13, -93, 88), (14, 9, 16)), 0, 2.5, 1.5)
    return d + _v(_lips(p, 14, 8) * _half(p), 0, -0.6, 0.5)


def _stretch(p, lip):
    d = _v(_corner(p, 13), 7.0, -3.0, -6.5)
    return d + _v(_lips(p, 18, 9) * _half(p) * (lip < 0), 1.0, -2.0, -1.5)


def _upper_up(p, lip):
    d = _v(blob(p, (10, -68, 95), (11, 9, 20)) * (lip > 0), 0.5, 6.0, 1.0)
    return d + _v(blob(p, (19, -52, 88), (8, 11, 14)), 0.8, 3.0, 1.0)


def _lower_down(p, lip):
    d = _v(blob(p, (10, -79, 94), (11, 9, 20)) * (lip < 0), 0.5, -7.0, 0.5)
    return d + _v(blob(p, (14, -92, 86), (12, 8, 14)), 0.5, -1.5, 0)


def _sneer(p, lip):
    d = _v(blob(p, (13, -42, 96), (6, 7, 13)), 1.3, 4.0, 0)
    d += _v(blob(p, (12, -6, 84), (7, 9, 14)), -0.8, 1.5, 1.6)
    return d + _v(blob(p, (14, -62, 94), (10, 8, 16)) * (lip >= 0), 0.3, 2.8, 0.3)


def _puff(p, lip):
    w = blob(p, (42, -66, 58), (17, 19, 26))
    return _v(w, 9.0, 0, 5.5)


def _squint_cheek(p, lip):
    return _v(blob(p, (36, -19, 74), (14, 8, 18)), 0, 3.0, 1.8)


def _outer_up(p, lip):
    return _v(blob(p, (43, 26, 72), (14, 13, 24)), 0.5, 8.0, 0.8)


def _brow_down(p, lip):
    d = _v(blob(p, (17, 18, 86), (11, 10, 20)), -3.2, -5.5, 2.0)
    return d + _v(blob(p, (36, 21, 78), (13, 10, 22)), -1.0, -4.0, 0.5)


def _inner_up(p, lip):
    d = _v(blob(p, (15, 22, 86), (11, 15, 22)), 0.6, 8.0, 0.8)
    d += _v(blob(p, (34, 24, 78), (14, 12, 22)), 0, 2.0, 0)
    return d * _half(p)[:, None]


def _pucker(p, lip):
    w = blob(p, (0, -74, 90), (25, 15, 24))
    d = _v(w, 0, 0, 7.5)
    d[:, 0] -= 0.46 * p[:, 0] * blob(p, (0, -74, 88), (30, 16, 26))
    d[:, 1] += 0.10 * (p[:, 1] + 74) * w
    return d + _v(_lips(p, 9, 9), 0, 0, 2.5)


def _funnel(p, lip):
    w = blob(p, (0, -74, 90), (24, 16, 24))
    d = _v(w, 0, 0, 7.0)
    d[:, 0] -= 0.34 * p[:, 0] * blob(p, (0, -74, 88), (30, 16, 26))
    shape = blob(p, (0, -74, 94), (14, 14, 26)) * lip
    return d + _v(shape, 0, 4.0, 0)


def _press(p, lip):
    """Lips roll in: their red thins and goes back."""
    w = blob(p, (0, -73, 96), (26, 7, 18))
    d = _v(w, 0, 0, -3.6)
    d[:, 1] -= 0.32 * (p[:, 1] + 73) * w
    return d


def _shift(p, lip):
    return _v(_lips(p, 24, 14), 8.0, 0, 0) - _v(_corner(p, 12), 0, 0, 2.0)


SIDED: dict[str, Push] = {
    "mouth_smile": _smile,
    "mouth_frown": _frown,
    "mouth_stretch": _stretch,
    "mouth_upper_up": _upper_up,
    "mouth_lower_down": _lower_down,
    "nose_sneer": _sneer,
    "cheek_puff": _puff,
    "eye_squint": _squint_cheek,
    "brow_outer_up": _outer_up,
    "brow_down": _brow_down,
    "mouth_shift": _shift,
    "eye_blink": lambda p, lip: np.zeros_like(p),
    "eye_wide": lambda p, lip: _v(blob(p, (32, 16, 80), (14, 9, 20)), 0, 1.2, 0),
}
MIDDLE: dict[str, Push] = {
    "brow_inner_up": lambda p, lip: _both(_inner_up, p, lip),
    "mouth_pucker": _pucker,
    "mouth_funnel": _funnel,
    "mouth_press": _press,
}
MOVING = ("jaw_open", "jaw_left", "jaw_right", "jaw_forward",
          "look_up", "look_down", "look_left", "look_right")  # fmt: skip
NAMES: tuple[str, ...] = (
    *(f"{name}_{side}" for name in SIDED for side in ("left", "right")),
    *MIDDLE,
    *MOVING,
)
# How far the upper lid comes down and the lower one up, as a share of the opening.
LIDS = {
    "eye_blink": (0.95, 0.10),
    "eye_wide": (-0.24, -0.07),
    "eye_squint": (0.16, 0.32),
    "mouth_smile": (0.03, 0.10),
    "look_down": (0.42, -0.06),
    "look_up": (-0.14, 0.05),
    "nose_sneer": (0.05, 0.10),
    "brow_down": (0.08, 0.0),
}
# Greatest angles: jaw (open; sideways), eyes (up and down; sideways), rad.
JAW_OPEN, JAW_SIDE, JAW_FORWARD = 0.42, 0.075, 5.0
LOOK_UP, LOOK_SIDE = 0.42, 0.5


def _both(push: Push, p, lip):
    return push(p, lip) + push(p * MIRROR, lip) * MIRROR


class Controls(NamedTuple):
    """Blend shapes and joint parameters of a template: `k` controls, `n` vertices."""

    push: np.ndarray
    """(k, n, 3) mm."""
    lid_mix: np.ndarray
    """(k, 4): upper left, lower left, upper right, lower right."""
    lid_reach: np.ndarray
    """(4, n) rotation (rad) of each vertex when that lid closes fully."""
    jaw_mix: np.ndarray
    """(k, 3): opening and sideways angle in rad, forward shift in mm."""
    look_mix: np.ndarray
    """(k, 2): angle up and to the left, rad."""


def controls(template: Template) -> Controls:
    """The controls of a template."""
    points, lip = template.vertices, template.lip
    soft = np.isin(template.part, [SKIN, MOUTH])
    # The skin over the eyeball belongs to the lids, and stays on it.
    around = np.zeros(len(points))
    for side in (1, -1):
        q = (points * [side, 1, 1] - EYE_CENTRE) @ eye_frame() / EYE_AXES
        around = np.maximum(around, smooth((1.62 - np.linalg.norm(q, axis=1)) / 0.45))
    free = soft * (1 - around)
    count = len(NAMES)
    push = np.zeros((count, len(points), 3))
    for i, name in enumerate(NAMES):
        stem, _, side = name.rpartition("_")
        if stem in SIDED:
            sign = MIRROR if side == "right" else np.ones(3)
            push[i] = SIDED[stem](points * sign, lip) * sign
        elif name in MIDDLE:
            push[i] = MIDDLE[name](points, lip)
    # Lips that part must not pull on skin that no longer belongs to them.
    push *= free[None, :, None]
    lid_mix = np.zeros((count, 4))
    for i, name in enumerate(NAMES):
        stem, _, side = name.rpartition("_")
        if name in LIDS:
            lid_mix[i] = [*LIDS[name], *LIDS[name]]
        elif stem in LIDS and side in ("left", "right"):
            lid_mix[i, slice(0, 2) if side == "left" else slice(2, 4)] = LIDS[stem]
    look_mix = np.zeros((count, 2))
    for name, values in {
        "look_up": (LOOK_UP, 0), "look_down": (-LOOK_UP * 0.9, 0),
        "look_left": (0, LOOK_SIDE), "look_right": (0, -LOOK_SIDE),
    }.items():  # fmt: skip
        look_mix[NAMES.index(name)] = values
    jaw_mix = np.zeros((count, 3))
    for name, values in {
        "jaw_open": (JAW_OPEN, 0, 1.0), "jaw_left": (0, JAW_SIDE, 0),
        "jaw_right": (0, -JAW_SIDE, 0), "jaw_forward": (0, 0, JAW_FORWARD),
    }.items():  # fmt: skip
        jaw_mix[NAMES.index(name)] = values
    reach = np.stack([*_lid_reach(template, 1), *_lid_reach(template, -1)])
    return Controls(push, lid_mix, reach, jaw_mix, look_mix)


def _lid_reach(template: Template, side: int):
    """Rotation (rad) of each vertex when the upper, or lower, lid closes fully."""
    points = template.vertices
    q = (points * [side, 1, 1] - EYE_CENTRE) @ eye_frame() / (EYE_AXES * LID_SCALE)
    height = np.arctan2(q[:, 1], np.maximum(q[:, 2], 1e-3))
    x = np.clip(q[:, 0] * EYE_AXES[0] * LID_SCALE, -15, 15)
    turn = np.arccos(x / 15)
    over, under = (_height(eye_contour(t)) for t in (turn, -turn))
    gap, middle = over - under, (over + under) / 2
    lids = np.isin(template.part, [SKIN, MARGIN]) & (q[:, 2] > 0)
    off = np.linalg.norm(q, axis=1)
    lids = lids * (points[:, 0] * side > 0) * (1 - smooth((off - 1.12) / 0.42))
    beyond = smooth((19.5 - np.abs(q[:, 0]) * EYE_AXES[0] * LID_SCALE) / 4.0)
    upper = gap * (1 - smooth((height - over) / 0.62)) * (height >= middle) * beyond
    lower = gap * (1 - smooth((under - height) / 0.85)) * (height < middle) * beyond
    return -upper * lids, lower * lids


def _height(flat):
    axes = EYE_AXES * LID_SCALE
    x, y = flat[:, 0] / axes[0], flat[:, 1] / axes[1]
    return np.arctan2(y, np.sqrt(np.maximum(1 - x * x - y * y, 0.02)))
