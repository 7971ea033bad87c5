# SPDX-License-Identifier: Apache-2.0
"""Morph targets of a mesh sequence: by PCA, or the expressions of a set.

Memory does not grow with the sequence; the error is measured over every frame.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from i2z_jax import console
from i2z_jax.geometry.blendshapes import BlendShapes
from i2z_jax.geometry.components import principal_components
from i2z_jax.spacing import evenly_spaced
from i2z_jax.types import Float, NDArray

# Components are added until the worst vertex of the sampled frames is this near, mm.
TOLERANCE_MM = 0.1
MOST_TARGETS = 32
# Frames that the components are computed from, spread over the sequence.
SAMPLED = 192
# Frames by which a set of expressions is placed on the face.
PLACING = 48

# The vertices of all frames in order; called once for each pass over them.
Sequence = Callable[[], Iterator[Float[NDArray, "n 3"]]]


class Morphs(NamedTuple):
    """Base mesh, morph targets and their weights per frame."""

    base: Float[NDArray, "n 3"]  # mm
    targets: Float[NDArray, "k n 3"]  # mm at weight 1
    weights: Float[NDArray, "f k"]  # in [-1, 1]
    # Distance from the sequence: the worst vertex of all frames, and each frame's mean.
    worst_mm: float
    frame_mm: Float[NDArray, "f"]
    names: tuple[str, ...] = ()  # of the targets, where they have some


def morphs(sequence: Sequence, frames: int) -> Morphs:
    """Principal components of a sequence, in memory that does not grow with it.

    The components are those of at most `SAMPLED` frames; weights and error are of
    all. Weights are scaled to [-1, 1], the targets accordingly.

    Args:
        sequence: gives the vertices of the frames, mm; it is iterated three times.
        frames: how many there are, at least 1.
    """
    sample = _sample(sequence, frames, SAMPLED)
    base = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    count, n = sample.shape[:2]
    basis = _components((sample - base[None]).reshape(count, -1).astype(np.float64))
    weights = np.stack(
        [basis @ (v - base).reshape(-1).astype(np.float64) for v in sequence()]
    )
    scale = np.maximum(np.abs(weights).max(axis=0, initial=0.0), 1e-9)
    targets = (basis * scale[:, None]).reshape(-1, n, 3)
    return _measured(sequence, base, targets, weights / scale[None])


def named_morphs(sequence: Sequence, frames: int, shapes: BlendShapes) -> Morphs:
    """The expressions of a set, placed on the face, as morph targets.

    Args:
        sequence: gives the vertices of the frames, mm; it is iterated three times.
        frames: how many there are, at least 1.
        shapes: of the same mesh, in any place and unit.
    """
    sample = _sample(sequence, frames, PLACING).astype(np.float64)
    shapes = shapes.placed_on(sample)
    each = console.progress(sequence(), "blend shapes", total=frames)
    weights = np.concatenate([shapes.fit(vertices[None]) for vertices in each])
    base = shapes.neutral.astype(np.float32)
    named = _measured(sequence, base, shapes.moves, weights)
    return named._replace(names=shapes.names)


def _sample(sequence: Sequence, frames: int, most: int) -> Float[NDArray, "m n 3"]:
    chosen = set(evenly_spaced(frames, most))
    return np.stack([v for i, v in enumerate(sequence()) if i in chosen])


def _measured(
    sequence: Sequence,
    base: Float[NDArray, "n 3"],
    targets: Float[NDArray, "k n 3"],
    weights: Float[NDArray, "f k"],
) -> Morphs:
    """In float32, as files have them, with the distance from the sequence."""
    targets, weights = targets.astype(np.float32), weights.astype(np.float32)
    worst, frame_mm = 0.0, []
    for row, vertices in zip(weights, sequence(), strict=True):
        again = base + np.tensordot(row, targets, axes=1)
        distance = np.sqrt(((again - vertices) ** 2).sum(axis=-1))
        worst = max(worst, float(distance.max()))
        frame_mm.append(float(distance.mean()))
    return Morphs(base, targets, weights, worst, np.array(frame_mm))


def _components(shapes: Float[NDArray, "m d"]) -> Float[NDArray, "k d"]:
    """Orthonormal rows, strongest first, as many as the tolerance asks for."""
    basis, _ = principal_components(shapes, MOST_TARGETS, least_share=1e-9)
    left = shapes.copy()
    for count, row in enumerate(basis):
        if np.sqrt((left.reshape(len(left), -1, 3) ** 2).sum(-1)).max() < TOLERANCE_MM:
            return basis[:count]
        left -= (left @ row)[:, None] * row[None]
    return basis
