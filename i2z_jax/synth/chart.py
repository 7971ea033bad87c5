# SPDX-License-Identifier: Apache-2.0
"""UV parametrisation of the skin.

Maps directions from the head's centre to texture coordinates. A skin point is
identified by its direction from `CORE`: azimuth (0 straight ahead, positive to the
subject's left) and elevation, in rad. The texture is that sphere unrolled, with the
seam down the back of the head, the face enlarged, and a strip left free below for what
is not skin (the UV islands below).
"""

from typing import NamedTuple

import numpy as np

from i2z_jax.synth.form import EYE_AXES, EYE_CENTRE, LID_SCALE, eye_frame
from i2z_jax.types import Float, NDArray

CORE = np.array([0.0, -20.0, 0.0])
NECK_Y = -162.0
# How much the middle of the texture is enlarged over the back of the head.
ENLARGE = 1.6
# The skin begins here in v; below NECK_SHARE of what is left, it is neck.
SKIN_BOTTOM, NECK_SHARE, CHIN_BOTTOM = 0.16, 0.12, np.radians(-50.0)


class Disc(NamedTuple):
    """A round UV island."""

    u: float
    v: float
    radius: float


class Box(NamedTuple):
    """A rectangular UV island."""

    left: float
    bottom: float
    right: float
    top: float


LEFT_EYE, RIGHT_EYE = Disc(0.24, 0.075, 0.068), Disc(0.085, 0.075, 0.068)
UPPER_TEETH, LOWER_TEETH = Box(0.34, 0.085, 0.62, 0.145), Box(0.34, 0.01, 0.62, 0.07)
TONGUE, MOUTH = Disc(0.7, 0.075, 0.06), Disc(0.86, 0.075, 0.068)


def direction(angles: Float[NDArray, "*n 2"]) -> Float[NDArray, "*n 3"]:
    """Unit vectors of chart angles."""
    a, e = angles[..., 0], angles[..., 1]
    return np.stack([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)], axis=-1)


def rays(
    angles: Float[NDArray, "n 2"],
) -> tuple[Float[NDArray, "n 3"], Float[NDArray, "n 3"]]:
    """Rays whose last intersection with the head is the skin at these chart angles.

    `form.cast` intersects them. They start at `CORE` for the head; down the neck the
    origin sinks with the angle, so that rays meet the throat squarely.

    Returns:
        origins and unit directions.
    """
    below = CHIN_BOTTOM - angles[:, 1]
    t = np.clip(below / (CHIN_BOTTOM - _neck_rim(angles[:, 0])), 0, 1)
    origin = CORE + t[:, None] * np.array([0.0, -128.0, -32.0])
    level = np.maximum(angles[:, 1], CHIN_BOTTOM) * (1 - t * t) + t * t * np.radians(
        -12.0
    )
    return origin, direction(np.stack([angles[:, 0], level], axis=-1))


def angles_of(points: Float[NDArray, "*n 3"]) -> Float[NDArray, "*n 2"]:
    """Chart angles of points in head space."""
    q = points - CORE
    flat = np.hypot(q[..., 0], q[..., 2])
    return np.stack(
        [np.arctan2(q[..., 0], q[..., 2]), np.arctan2(q[..., 1], flat)], axis=-1
    )


def _neck_rim(azimuth):
    """Elevation of the neck's rim, a circle at height NECK_Y."""
    centre, radius = -32.0, 55.0
    reach = centre * np.cos(azimuth) + np.sqrt(
        radius**2 - (centre * np.sin(azimuth)) ** 2
    )
    return np.arctan2(NECK_Y - CORE[1], reach)


def uv_of(angles: Float[NDArray, "*n 2"]) -> Float[NDArray, "*n 2"]:
    """Texture coordinates of chart angles."""
    a, e = angles[..., 0], angles[..., 1]
    u = 0.5 + 0.5 * np.tanh(ENLARGE * a / np.pi) / np.tanh(ENLARGE)
    face = (e - CHIN_BOTTOM) / (np.pi / 2 - CHIN_BOTTOM)
    neck = (e - CHIN_BOTTOM) / (CHIN_BOTTOM - _neck_rim(a))
    t = NECK_SHARE + np.where(face > 0, face * (1 - NECK_SHARE), neck * NECK_SHARE)
    return np.stack([u, SKIN_BOTTOM + (1 - SKIN_BOTTOM) * t], axis=-1)


def angles_at(uv: Float[NDArray, "*n 2"]) -> Float[NDArray, "*n 2"]:
    """Inverse of `uv_of`, on the skin."""
    x = np.clip((uv[..., 0] - 0.5) * 2 * np.tanh(ENLARGE), -0.9999, 0.9999)
    a = np.clip(np.arctanh(x) / ENLARGE, -1, 1) * np.pi
    t = (uv[..., 1] - SKIN_BOTTOM) / (1 - SKIN_BOTTOM) - NECK_SHARE
    face = CHIN_BOTTOM + t / (1 - NECK_SHARE) * (np.pi / 2 - CHIN_BOTTOM)
    neck = CHIN_BOTTOM + t / NECK_SHARE * (CHIN_BOTTOM - _neck_rim(a))
    return np.stack([a, np.where(t > 0, face, neck)], axis=-1)


# Places that a mesh must not miss, however coarse: the landmarks of the left half that
# lie on open skin (jaw, brow, nose; 300-W, head space, mm, near the skin) ...
JAW = [(0, -115, 88), (19, -113, 78), (36, -103, 58), (48, -90, 36), (54, -74, 18),
       (59, -54, 9), (63, -34, 8), (66, -16, 10), (66, 2, 12)]  # fmt: skip
BROW = [(13, 18, 92), (22, 22, 90), (32, 23.5, 85), (43, 21.3, 75), (52, 13.7, 61)]
NOSE = [(0, 4, 90), (0, -11, 99), (0, -25, 107), (0, -38, 119),
        (0, -51.5, 104), (6.5, -50.5, 101), (13.5, -49, 97)]  # fmt: skip
# ... and what gives the nose and the chin their shape.
FORM = [(17.5, -43, 96), (9, -39, 112), (9, -24, 94), (7, -8, 88), (0, -46, 114),
        (20, -38, 88), (0, -103, 95), (57, -20, 52), (50, -62, 40)]  # fmt: skip


def eye_contour(turn: Float[NDArray, " k"]) -> Float[NDArray, "k 2"]:
    """Opening of the left eye in the eye's own x (outward), y (up), mm.

    Args:
        turn: rad, 0 at the outer corner, pi/2 at the top, pi at the inner corner.
    """
    x = 15.0 * np.cos(turn)
    s = np.clip(np.abs(np.sin(turn)), 0, 1)
    corners = 0.8 * (x / 15.0) - 0.3
    # The upper lid peaks towards the nose, the lower one dips towards the temple.
    upper = 5.4 * s**1.25 * (1 - 0.16 * x / 15.0)
    lower = 5.6 * s**1.35 * (1 + 0.14 * x / 15.0)
    return np.stack([x, corners + np.where(np.sin(turn) >= 0, upper, -lower)], axis=-1)


def on_eye(flat: Float[NDArray, "k 2"], scale: float) -> Float[NDArray, "k 3"]:
    """Lift points of the eye's own plane onto its surface, `scale` times the size."""
    axes = EYE_AXES * scale
    height = 1 - (flat[:, 0] / axes[0]) ** 2 - (flat[:, 1] / axes[1]) ** 2
    local = np.stack(
        [flat[:, 0], flat[:, 1], axes[2] * np.sqrt(np.maximum(height, 0.02))], axis=-1
    )
    return EYE_CENTRE + local @ eye_frame().T


def eye_ring(turn: Float[NDArray, " k"], t: float) -> Float[NDArray, "k 2"]:
    """Chart angles around the left eye: its opening at t = 0, an ellipse at 1."""
    rim = angles_of(on_eye(eye_contour(turn), LID_SCALE))
    wide = np.stack([21 * np.cos(turn) + 1, 15.5 * np.sin(turn)], axis=-1)
    flat = np.concatenate([wide, 11 - 0.22 * np.abs(wide[:, :1])], axis=-1)
    outer = angles_of(EYE_CENTRE + flat @ eye_frame().T)
    return rim + t * (outer - rim)


def lip_line(x: Float[NDArray, " k"]) -> Float[NDArray, "k 3"]:
    """Where closed lips meet, in head space."""
    y = -72.6 - 0.9 * (x / 25) ** 2 + 0.5 * np.exp(-((x / 5) ** 2))
    return np.stack([x, y, 96.0 - 0.0175 * x * x], axis=-1)


def mouth_ring(turn: Float[NDArray, " k"], t: float) -> Float[NDArray, "k 2"]:
    """Chart angles around the mouth: a slit at t = 0, a wide ring at 1.

    Args:
        turn: rad, 0 at the top, pi/2 at the left corner, pi at the bottom.
    """
    slit = lip_line(25.5 * np.sin(turn))
    slit[:, 1] += 0.9 * np.cos(turn)
    x, y = 37 * np.sin(turn), -74 + 18.5 * np.cos(turn)
    outer = np.stack([x, y, 95 - 0.0175 * x * x], axis=-1)
    a, b = angles_of(slit), angles_of(outer)
    return a + t * (b - a)
