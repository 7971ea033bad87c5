# SPDX-License-Identifier: Apache-2.0
"""What a run of adaptation is given reaches its loss."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.data import capture_source
from i2z_jax.errors import InputError
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.objectives.adapt import AdaptWeights, ZPrior
from i2z_jax.sharding import create_mesh
from i2z_jax.train.adapt_data import face_mesh, prepare_capture
from i2z_jax.train.adapt_stage import adapt_stage
from i2z_jax.train.landmark_bias import LandmarkBias
from tests.train import adapt_world as world

PAIRS, VIEWS = np.array([0, 3], np.int32), np.array([0, 2], np.int32)


@pytest.fixture(scope="module")
def given():
    """A tracker and its data; lab views with another head position than it says."""
    mesh = create_mesh(devices=jax.devices()[:1])
    system = world.system()
    data = world.adaptation_data(system, mesh)
    aside = data.replay.pose + jnp.asarray([[0, 0, 0, 0, 0.1, 0.0]])
    return system, data._replace(replay=data.replay._replace(pose=aside)), mesh


@pytest.fixture(scope="module")
def look(given):
    """(changes of the data, weights) -> loss and metrics of one batch."""
    system, data, mesh = given
    stage_of = partial(adapt_stage, system, mesh=mesh)
    stage, _ = stage_of(data, weights=AdaptWeights())
    objective = jax.jit(stage.objective)
    batch = {"pairs": {"row": PAIRS}, "replay": {"row": VIEWS}}

    def look(weights=None, **changes):
        changed, _ = stage_of(
            data._replace(**changes), weights=weights or AdaptWeights()
        )
        loss, (metrics, _) = objective(
            changed.params, changed.stats, changed.frozen, batch, jax.random.key(0)
        )
        return float(loss), {name: float(x) for name, x in metrics.items()}

    return look


def test_the_loss_is_the_weighted_sum_of_its_terms(look):
    weights = AdaptWeights(2.0, 3.0, 5.0, 7.0, replay=0.0)
    loss, terms = look(weights)
    ours = 2 * terms["landmarks"] + 3 * terms["consistency"]
    expected = ours + 5 * terms["appearance"] + 7 * terms["prior"]
    assert loss == pytest.approx(expected, rel=1e-5)


def test_lab_views_pull_as_much_as_they_are_told_to(look):
    """Their heads are 0.1 of half a crop aside: 1.6 px, and one standard deviation."""
    terms = look()[1]
    assert terms["replay/reprojection"] == pytest.approx(1.6, rel=1e-4)
    assert terms["replay/pose"] == pytest.approx(1 / 6, rel=1e-4)
    none, once, twice = (look(AdaptWeights(replay=w))[0] for w in (0.0, 1.0, 2.0))
    assert once - none > 0.1
    assert twice - none == pytest.approx(2 * (once - none), rel=1e-4)


def test_the_prior_is_the_labs(given, look):
    system, data, _ = given
    rows = np.concatenate([PAIRS, PAIRS + 1])
    image = unit_range(jnp.asarray(data.video.frames.image)[rows])
    z = np.float64(jax.jit(lambda net, image: net(image).z)(system.net, image))
    prior = ZPrior(jnp.full(world.Z, 3.0), jnp.arange(1.0, 1 + world.Z))
    expected = np.mean(((z - 3) / np.arange(1, 1 + world.Z)) ** 2)
    assert look(prior=prior)[1]["prior"] == pytest.approx(expected, rel=1e-3)


def test_the_cameras_distance_changes_what_is_seen(look):
    """A sheet that bulges by 30 mm, from 300 mm away."""
    far, near = (look(nearness=x)[1] for x in (0.0, 1 / 300))
    for term in ("landmarks", "consistency", "appearance"):
        assert abs(near[term] - far[term]) > 0.001 * far[term]


def test_where_the_detector_marks_is_part_of_the_mesh(given, look):
    """Landmarks that are marked 12 mm to the right of the mesh's, so much in px."""
    mesh = given[2]
    _, topology = world.sheet()
    offset = np.tile(np.float32([[12, 0, 0]]), (68, 1))
    scatter = np.linspace(2, 6, 68)
    face = face_mesh(
        topology, LandmarkBias(offset, scatter), texture_size=world.TEXTURE, mesh=mesh
    )
    np.testing.assert_array_equal(face.landmark_offset, offset)
    # Three times the scatter, a third of the weight.
    assert face.landmark_trust[0] == pytest.approx(3 * face.landmark_trust[-1])
    np.testing.assert_array_equal(face.on_contour, np.arange(68) < 17)
    assert abs(look(face=face)[1]["landmarks"] - look()[1]["landmarks"]) > 1


def test_a_capture_of_two_people_is_refused(given, tmp_path, monkeypatch):
    system, _, mesh = given
    sources = {i: capture_source.CaptureSource(tmp_path, 32) for i in range(2)}
    monkeypatch.setattr(capture_source, "capture_sources", lambda _: sources)
    with pytest.raises(InputError, match=r"of one person .*got 2 sources"):
        prepare_capture(
            system, tmp_path, replayed=4, seed=0, dtype=jnp.float32, mesh=mesh
        )
