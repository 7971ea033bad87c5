# SPDX-License-Identifier: Apache-2.0
"""The left ear as a parametric surface: bowl, folded rim, attachment behind.

Described in polar form around the ear canal: `level` runs from 0 (the bowl) over the
rim to 1 (where the back of the ear meets the head); `turn` is 0 towards the face and
pi/2 up.
"""

import numpy as np

from i2z_jax.synth.chart import angles_of
from i2z_jax.types import Float, NDArray

# Levels of the rings from the canal outwards.
EAR_RINGS = (0.0, 0.10, 0.19, 0.28, 0.36, 0.44, 0.52, 0.59, 0.66, 0.74, 0.86, 1.0)
CENTRE = np.array([70.0, -4.0, -7.0])
# Axes of the ear: forward, up (leaning back) and out of it (opening forwards).
FORWARD = np.array([-0.10, 0.16, 0.98])
UP = np.array([0.10, 0.97, -0.20])
OUT = np.array([0.97, 0.0, 0.22])
HALF_WIDTH, HALF_HEIGHT = 16.5, 30.0


def ear_ring(turn: Float[NDArray, " k"], level: float) -> Float[NDArray, "k 2"]:
    """Chart angles of a ring: where its texels lie, and for level 1 the skin too."""
    centre = angles_of(CENTRE) + np.array([0.02, 0.0])
    reach = np.array([0.20, 0.40]) * level
    lean = np.stack([-np.cos(turn), np.sin(turn)], axis=-1)
    angles = centre + reach * lean
    angles[:, 0] += 0.12 * (angles[:, 1] - centre[1])
    return angles


def ear_hold(turn: Float[NDArray, " k"], level: float) -> Float[NDArray, " k"]:
    """Weight in [0, 1] of the head's surface at a ring's vertices.

    The front of the ear blends into the cheek.
    """
    outside = np.clip((level - 0.46) / 0.28, 0, 1)
    return outside * np.clip(np.cos(turn + 0.15) * 1.6, 0, 1)


def ear_shape(turn: Float[NDArray, " k"], level: float) -> Float[NDArray, "k 3"]:
    """Points of a ring in head space, mm."""
    levels = [0.0, 0.16, 0.30, 0.44, 0.54, 0.62, 0.70, 0.78, 1.0]
    reach = np.interp(level, levels, [0, 0.30, 0.52, 0.66, 0.80, 0.92, 1.0, 0.97, 0.7])
    rise = np.interp(
        level, levels, [0.02, 0.12, 0.66, 0.92, 0.66, 0.92, 1.0, 0.70, 0.0]
    )
    back = 0.5 - 0.5 * np.cos(turn)
    # Narrow at the lobe, widest above.
    width = HALF_WIDTH * (1 + 0.16 * np.sin(turn)) * np.where(np.cos(turn) > 0, 0.85, 1)
    x = width * np.cos(turn) * reach
    y = HALF_HEIGHT * np.sin(turn) * reach
    # The bowl lies in front and below; the folds run around it above and behind.
    x = x + 3.2 * (1 - level) ** 2
    y = y - 5.0 * (1 - level) ** 1.5
    lobe = np.exp(-(((turn - 1.5 * np.pi) / 0.6) ** 2))
    lift = rise * (1.0 + 17.0 * back**0.8 * (1 - 0.35 * lobe))
    # The small flap in front of the canal.
    flap = np.exp(-(((np.mod(turn + np.pi, 2 * np.pi) - np.pi + 0.35) / 0.4) ** 2))
    lift = lift + 4.0 * flap * np.exp(-(((level - 0.42) / 0.14) ** 2))
    return CENTRE + x[:, None] * FORWARD + y[:, None] * UP + lift[:, None] * OUT
