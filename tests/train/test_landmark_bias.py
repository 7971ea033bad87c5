# SPDX-License-Identifier: Apache-2.0
"""A detector's habits are found again from views of a head that turns."""

import numpy as np
import pytest

from i2z_jax.geometry.camera import project_weak
from i2z_jax.train.landmark_bias import LandmarkBias, measure_bias

SIZE, VIEWS, COUNT = 128, 200, 12


def projected(points, pose):
    return (project_weak(pose, points)[..., :2] + 1) * SIZE / 2


@pytest.fixture
def views(rng):
    """True landmarks, a detector that is off by a constant in the head's own axes."""
    points = rng.normal(0, 40, (COUNT, 3))
    offset = rng.normal(0, 3, (COUNT, 3))
    pose = np.tile([0.008, 0, 0, 0, 0, 0], (VIEWS, 1))
    pose[:, 1:4] += rng.normal(0, 0.4, (VIEWS, 3))
    at = np.broadcast_to(points, (VIEWS, COUNT, 3))
    scatter = np.linspace(0.3, 6.0, COUNT)  # px
    noise = rng.normal(size=(VIEWS, COUNT, 2)) * scatter[:, None]
    return projected(at, pose), projected(at + offset, pose), noise, pose, offset


def test_offsets_come_back_in_head_space(views):
    there, marked, noise, pose, offset = views
    found = measure_bias(marked, np.ones((VIEWS, COUNT)), there, pose, SIZE)
    np.testing.assert_allclose(found.offset, offset, atol=0.1)
    assert found.scatter.max() < 0.2
    noisy = measure_bias(marked + noise, np.ones((VIEWS, COUNT)), there, pose, SIZE)
    assert np.abs(noisy.offset - offset)[:4].max() < 1.0


def test_a_third_of_mistakes_does_not_matter(views, rng):
    there, marked, _, pose, offset = views
    wrong = rng.uniform(size=(VIEWS, COUNT, 1)) < 0.3
    marked = np.where(wrong, rng.uniform(0, SIZE, marked.shape), marked)
    found = measure_bias(marked, np.ones((VIEWS, COUNT)), there, pose, SIZE)
    assert np.abs(found.offset - offset).max() < 1.0


def test_trust_follows_scatter(views):
    there, marked, noise, pose, _ = views
    trust = measure_bias(
        marked + noise, np.ones((VIEWS, COUNT)), there, pose, SIZE
    ).trust
    assert trust.mean() == pytest.approx(1)
    assert (np.diff(trust[2:]) < 0.05).all()
    assert trust[0] > 4 * trust[-1]


def test_without_evidence_nothing_moves(views):
    there, marked, _, pose, _ = views
    unseen = measure_bias(marked, np.zeros((VIEWS, COUNT)), there, pose, SIZE)
    np.testing.assert_allclose(unseen.offset, 0, atol=1e-9)
    none = LandmarkBias.none(COUNT)
    np.testing.assert_array_equal(none.offset, 0)
    np.testing.assert_allclose(none.trust, 1)
