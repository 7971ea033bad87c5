# SPDX-License-Identifier: Apache-2.0
"""Contact sheet of the procedural head, for visual inspection.

    python -m i2z_jax.synth.sheet docs/pictures/synthetic_head.jpg

From the top: neutral and expressions, identities, the stage's cameras, other lights.
Takes two minutes on two idle cores.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from i2z_jax.console import progress
from i2z_jax.drawing import grid
from i2z_jax.errors import InputError
from i2z_jax.files import write_aside
from i2z_jax.synth.head import ProceduralHead
from i2z_jax.synth.identity import Identity
from i2z_jax.synth.portrait import Lens, portrait
from i2z_jax.synth.shade import Light, wild_light
from i2z_jax.synth.sitter import procedural_subject
from i2z_jax.synth.subject import Subject
from i2z_jax.synth.wild import srgb
from i2z_jax.types import Float, NDArray, UInt8

CELL = (280, 220)
COLUMNS = 8
SHEET_DISTANCE_MM = 1000.0
BACKGROUND = 0.10
LOOK_AT = np.array([0.0, -14.0, 0.0])

BOTH = ("left", "right")


def _pair(stem: str, weight: float = 1.0) -> dict[str, float]:
    return {f"{stem}_{side}": weight for side in BOTH}


EXPRESSIONS: tuple[dict[str, float], ...] = (
    {"jaw_open": 0.5},
    {"jaw_open": 1.0},
    _pair("mouth_smile"),
    _pair("mouth_smile") | _pair("mouth_upper_up", 0.7) | {"jaw_open": 0.22}
    | _pair("mouth_lower_down", 0.4),
    {"mouth_smile_left": 1.0},
    _pair("mouth_frown") | {"brow_inner_up": 0.8},
    {"mouth_pucker": 1.0},
    {"mouth_funnel": 1.0, "jaw_open": 0.35},
    {"mouth_press": 1.0},
    _pair("mouth_stretch") | _pair("mouth_lower_down"),
    _pair("cheek_puff"),
    {"cheek_puff_right": 1.0},
    _pair("nose_sneer") | _pair("mouth_upper_up"),
    _pair("brow_down") | _pair("eye_squint", 0.5),
    {"brow_inner_up": 1.0} | _pair("brow_outer_up") | _pair("eye_wide"),
    _pair("eye_blink"),
    {"eye_blink_right": 1.0, "mouth_smile_right": 0.6},
    _pair("eye_squint"),
    {"look_left": 1.0},
    {"look_up": 1.0},
    {"look_down": 1.0},
    {"jaw_left": 1.0, "mouth_shift_left": 0.6},
    {"jaw_open": 0.8} | _pair("eye_wide") | _pair("brow_outer_up")
    | {"brow_inner_up": 0.7},
)  # fmt: skip
# Yaw and pitch of the stage's cameras, degrees.
VIEWS = (-90, 0), (-60, 0), (-30, 0), (30, 0), (60, 0), (90, 0), (0, 28), (0, -28)


def cell(
    subject: Subject,
    expression: dict[str, float],
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    light: Light | None = None,
    size: tuple[int, int] = CELL,
) -> UInt8[NDArray, "h w 3"]:
    """Render a head from 1 m.

    Camera `yaw` and `pitch` are in degrees, positive to the subject's left and up;
    `size` is (height, width), px.
    """
    names = subject.head.expression_names
    weights = np.array([expression.get(name, 0.0) for name in names])
    height, width = size
    focal = height * SHEET_DISTANCE_MM / 262.0
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    lens = Lens(intrinsics, _camera(np.radians(yaw), np.radians(pitch)))
    shot = portrait(subject, weights, lens, light, width=width, height=height)
    return srgb(shot.image + BACKGROUND * (1 - shot.mask[..., None]))


def _camera(yaw: float, pitch: float) -> Float[NDArray, "3 4"]:
    """x right, y down, z forward, looking at the head."""
    away = np.array(
        [np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)]
    )
    right = np.array([np.cos(yaw), 0, -np.sin(yaw)])
    rows = np.stack([right, np.cross(right, away), -away])
    shift = -rows @ (LOOK_AT + SHEET_DISTANCE_MM * away)
    return np.concatenate([rows, shift[:, None]], axis=1)


def sheet(texture_size: int = 1024) -> UInt8[NDArray, "h w 3"]:
    """The whole picture."""
    subject = procedural_subject(ProceduralHead(), texture_size)
    rng = np.random.default_rng(3)
    large = cell(subject, {}, size=(3 * CELL[0], 3 * CELL[1]))
    cells = [cell(subject, e) for e in progress(EXPRESSIONS, "expressions")]
    for _ in progress(range(COLUMNS), "identities"):
        person = ProceduralHead(Identity.sample(rng))
        cells.append(cell(procedural_subject(person, texture_size), {}))
    for yaw, pitch in progress(VIEWS, "cameras"):
        cells.append(cell(subject, {}, yaw=yaw, pitch=pitch))
    for _ in progress(range(COLUMNS), "lights"):
        yaw, pitch = rng.uniform([-35, -15], [35, 15])
        light = wild_light(rng)
        cells.append(cell(subject, {}, yaw=yaw, pitch=pitch, light=light))
    beside = COLUMNS - 3
    above = np.hstack([large, grid(cells[: 3 * beside], beside)])
    return np.vstack([above, grid(cells[3 * beside :], COLUMNS)])


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise InputError("one path is needed", where="sheet", fix="give PICTURE.jpg")
    with write_aside(Path(arguments[0]), overwrite=True) as aside:
        Image.fromarray(sheet()).save(aside, format="JPEG", quality=85)


if __name__ == "__main__":
    main(sys.argv[1:])
