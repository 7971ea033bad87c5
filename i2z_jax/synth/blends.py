# SPDX-License-Identifier: Apache-2.0
"""From one thing to another without an edge, in clay and in paint; left and right."""

import numpy as np

from i2z_jax.synth.form import Length
from i2z_jax.types import NDArray

# Times a point or a displacement: its twin on the other side of the face.
MIRROR = np.array([-1.0, 1.0, 1.0])


def smooth(t: NDArray) -> NDArray:
    """0 below 0, 1 above 1, and a rise between that begins and ends level."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def step(low: Length, high: Length, value: NDArray) -> NDArray:
    """0 at `low` to 1 at `high`, which may be the smaller one."""
    return smooth((value - low) / (high - low))


def mix(colour: NDArray, other: NDArray, share: NDArray) -> NDArray:
    """Colours (n, 3) with a share (n,) of another one in them, cut to [0, 1]."""
    return colour + np.clip(share, 0, 1)[:, None] * (other - colour)


def folded(points: NDArray) -> NDArray:
    """Points (n, 3), those of the right half on their twin's place in the left one."""
    return np.abs(points) * [1, 0, 0] + points * [0, 1, 1]
