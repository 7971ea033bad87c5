# SPDX-License-Identifier: Apache-2.0
"""Small meshes for the tests of geometry: NumPy, counter-clockwise from outside."""

import numpy as np


def plane(columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Grid points (n, 2) with unit spacing, x fastest, and two triangles a cell."""
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    index = np.arange(columns * rows).reshape(rows, columns)
    a, b, c, d = (
        part.ravel()
        for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:])
    )
    faces = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])
    return np.stack([x.ravel(), y.ravel()], 1).astype(float), faces.astype(np.int32)


def sphere(around: int, down: int) -> tuple[np.ndarray, np.ndarray]:
    """Closed unit sphere, y up: rings and two poles."""
    longitude = np.arange(around) * 2 * np.pi / around
    latitude = np.arange(1, down) * np.pi / down
    angle, polar = np.meshgrid(longitude, latitude)
    rings = np.stack(
        [np.sin(polar) * np.sin(angle), np.cos(polar), np.sin(polar) * np.cos(angle)],
        axis=-1,
    ).reshape(-1, 3)
    vertices = np.concatenate([rings, [[0, 1, 0], [0, -1, 0]]])
    top, bottom = len(rings), len(rings) + 1
    here = np.arange(around)
    there = (here + 1) % around
    faces = [np.stack([np.full(around, top), here, there], 1)]
    for ring in range(down - 2):
        a, b = ring * around + here, ring * around + there
        c, d = a + around, b + around
        faces += [np.stack([a, c, d], 1), np.stack([a, d, b], 1)]
    last = (down - 2) * around
    faces.append(np.stack([np.full(around, bottom), last + there, last + here], 1))
    return vertices, np.concatenate(faces).astype(np.int32)
