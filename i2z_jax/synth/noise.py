# SPDX-License-Identifier: Apache-2.0
"""Random texture that is the same at every texture size: noise on the template."""

import numpy as np
from scipy.ndimage import gaussian_filter

from i2z_jax.types import Float, NDArray


def _hash(cell: NDArray, seed: int) -> NDArray:
    """Lattice points (..., 3) to [-1, 1], as good as random."""
    x, y, z = (cell[..., i].astype(np.int64) for i in range(3))
    mixed = x * 374761393 + y * 668265263 + z * 2147483647 + seed * 974634777
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    mixed = (mixed ^ (mixed >> 16)) & 0xFFFFFF
    return mixed / 0x7FFFFF - 1.0


def fractal(
    points: Float[NDArray, "n 3"], frequency: float, octaves: int, seed: int
) -> Float[NDArray, " n"]:
    """Sum of smooth noises of doubling frequency (per mm), about within [-1, 1]."""
    total, weight = np.zeros(len(points)), 0.0
    for octave in range(octaves):
        p = points * (frequency * 2**octave) + 17.3 * octave
        cell = np.floor(p).astype(np.int64)
        t = p - cell
        t = t * t * (3 - 2 * t)
        value = np.zeros(len(points))
        for corner in range(8):
            bits = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
            share = np.where(bits == 1, t, 1 - t).prod(axis=-1)
            value += share * _hash(cell + bits, seed + octave)
        total += value * 0.6**octave
        weight += 0.6**octave
    return 1.6 * total / weight


def grain(size: int, seed: int) -> Float[NDArray, "t t"]:
    """Fine skin grain in texture space, about one pore to a millimetre; std 0.5.

    It fades as texels grow past the size of a pore.
    """
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(size, size))
    sharp = gaussian_filter(white, 0.7, mode="wrap")
    pores = sharp - gaussian_filter(white, 2.2, mode="wrap")
    return pores / max(pores.std(), 1e-9) * 0.5 * min(1.0, size / 1024) ** 0.5
