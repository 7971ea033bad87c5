# SPDX-License-Identifier: Apache-2.0
"""Smooth steps and colour blends, and mirroring in x, shared by shape and skin."""

import numpy as np

from i2z_jax.synth.form import Length
from i2z_jax.types import NDArray

# Multiplies a point or displacement: its mirror image in x.
MIRROR = np.array([-1.0, 1.0, 1.0])


def smooth(t: NDArray) -> NDArray:
    """Cubic smoothstep: 0 below 0, 1 above 1, zero slope at both ends."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def step(low: Length, high: Length, value: NDArray) -> NDArray:
    """Smoothstep from 0 at `low` to 1 at `high`; falling if `high < low`."""
    return smooth((value - low) / (high - low))


def mix(colour: NDArray, other: NDArray, share: NDArray) -> NDArray:
    """Linear blend of `colour` (n, 3) towards `other` by `share` (n,).

    The share is clipped to [0, 1].
    """
    return colour + np.clip(share, 0, 1)[:, None] * (other - colour)


def folded(points: NDArray) -> NDArray:
    """Points (n, 3) mirrored onto the left half: (|x|, y, z)."""
    return np.abs(points) * [1, 0, 0] + points * [0, 1, 1]
