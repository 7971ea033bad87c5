# SPDX-License-Identifier: Apache-2.0
"""Morph targets reproduce a sequence, and the stated error is the measured one."""

import numpy as np
import pytest

from i2z_jax.report.morphs import MOST_TARGETS, morphs


def sequence(rng, frames, rank, noise=0.0):
    base = rng.normal(size=(50, 3)) * 60
    shapes = rng.normal(size=(rank, 50, 3))
    weights = rng.normal(size=(frames, rank)) * np.linspace(6, 1, rank)
    vertices = base + np.tensordot(weights, shapes, axes=1)
    return (vertices + rng.normal(size=vertices.shape) * noise).astype(np.float32)


@pytest.mark.parametrize(
    ("frames", "rank", "noise"),
    [(1, 1, 0.0), (2, 1, 0.0), (300, 5, 0.0), (400, 10, 0.3)],
    ids=["one frame", "two", "low rank", "noise"],
)
def test_error_is_measured_over_every_frame(rng, frames, rank, noise):
    vertices = sequence(rng, frames, rank, noise)
    result = morphs(lambda: iter(vertices), frames)
    again = result.base + np.tensordot(result.weights, result.targets, axes=1)
    distance = np.linalg.norm(again - vertices, axis=-1)
    assert result.worst_mm == pytest.approx(distance.max(), rel=1e-3, abs=1e-4)
    assert result.frame_mm == pytest.approx(distance.mean(axis=1), rel=1e-3, abs=1e-4)
    assert np.abs(result.weights).max(initial=0) <= 1 + 1e-6
    if noise:
        assert len(result.targets) == MOST_TARGETS
    else:
        assert result.worst_mm < 0.1
        assert len(result.targets) <= min(rank, frames)


def test_a_face_that_does_not_move_has_no_targets(rng):
    vertices = np.repeat(sequence(rng, 1, 1), 20, axis=0)
    result = morphs(lambda: iter(vertices), 20)
    assert len(result.targets) == 0
    assert result.worst_mm < 1e-4
