# SPDX-License-Identifier: Apache-2.0
"""The 68-point markup of Multi-PIE and 300-W: parts, and what a mirror does to it.

Indices are 0-based. "Left" and "right" are the viewer's: point 0 is the end of the
jaw at the left of the picture.
"""

import numpy as np

from i2z_jax.geometry.topology import LANDMARKS as COUNT

# Runs of consecutive points; every point belongs to exactly one.
PARTS: dict[str, slice] = {
    "jaw": slice(0, 17),
    "left brow": slice(17, 22),
    "right brow": slice(22, 27),
    "nose bridge": slice(27, 31),
    "nostrils": slice(31, 36),
    "left eye": slice(36, 42),
    "right eye": slice(42, 48),
    "outer lip": slice(48, 60),
    "inner lip": slice(60, 68),
}

LEFT_EYE_OUTER, RIGHT_EYE_OUTER = 36, 45

# Points of the jaw's contour: a detector does not know how far along it they lie.
ON_CONTOUR = np.arange(COUNT) < PARTS["jaw"].stop
ON_CONTOUR.setflags(write=False)

_SWAPS = [
    *((i, 16 - i) for i in range(8)),  # jaw
    *((17 + i, 26 - i) for i in range(5)),  # brows
    *((31, 35), (32, 34)),  # nostrils
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),  # eyes
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),  # outer lip
    *((60, 64), (61, 63), (65, 67)),  # inner lip
]


def _mirror() -> np.ndarray:
    order = np.arange(COUNT)
    for a, b in _SWAPS:
        order[[a, b]] = b, a
    order.setflags(write=False)
    return order


# The landmarks of a mirrored picture are `mirrored_points[MIRROR]`.
MIRROR = _mirror()
