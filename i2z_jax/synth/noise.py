# SPDX-License-Identifier: Apache-2.0
"""Value noise in template space, independent of texture resolution."""

import itertools

import numpy as np
from scipy.ndimage import gaussian_filter

from i2z_jax.types import Float, NDArray

# Hash multipliers of the lattice coordinates and of the seed.
_PRIMES, _SEED_PRIME = (374761393, 668265263, 2147483647), 974634777


def _scramble(mixed: NDArray) -> NDArray:
    """Hash of integers to [-1, 1]."""
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    mixed = (mixed ^ (mixed >> 16)) & 0xFFFFFF
    return mixed / 0x7FFFFF - 1.0


def fractal(
    points: Float[NDArray, "n 3"], frequency: float, octaves: int, seed: int
) -> Float[NDArray, " n"]:
    """Sum of smooth noises of doubling frequency (per mm), about within [-1, 1]."""
    total, weight = np.zeros(len(points)), 0.0
    for octave in range(octaves):
        p = points.T * (frequency * 2**octave) + 17.3 * octave
        cell = np.floor(p).astype(np.int64)
        t = p - cell
        t = t * t * (3 - 2 * t)
        # Per axis, what the lower and the upper neighbour bring to each corner.
        keys = [
            (c * prime, (c + 1) * prime) for c, prime in zip(cell, _PRIMES, strict=True)
        ]
        shares = [(1 - axis, axis) for axis in t]
        key = (seed + octave) * _SEED_PRIME
        value = np.zeros(len(points))
        for x, y, z in itertools.product((0, 1), repeat=3):
            share = shares[0][x] * shares[1][y] * shares[2][z]
            value += share * _scramble(keys[0][x] + keys[1][y] + keys[2][z] + key)
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
