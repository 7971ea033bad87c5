# SPDX-License-Identifier: Apache-2.0
"""Adaptation as a run: what it moves, how it resumes, what it returns."""

import json
import shutil
import signal
from contextlib import closing
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from i2z_jax.checkpoint import RunCheckpoints, named_arrays
from i2z_jax.data.batches import Batches
from i2z_jax.errors import InputError
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.models.parameters import split_trained
from i2z_jax.objectives.adapt import AdaptWeights
from i2z_jax.sharding import create_mesh, replicate
from i2z_jax.train.adapt import _best, adapt
from i2z_jax.train.adapt_data import FEWEST_FRAMES, check_system, prepare_video
from i2z_jax.train.adapt_stage import adapt_stage
from i2z_jax.train.frame_cache import _streams, build_cache
from i2z_jax.train.guard import judged_frames
from i2z_jax.train.loop import LoopConfig, abstract
from i2z_jax.train.observe_frames import Graphs
from i2z_jax.train.observe_frames import _program as program_of
from i2z_jax.train.optim import OptimizerConfig
from i2z_jax.train.rehearsal import rehearse
from i2z_jax.train.run import RunConfig, create_state
from i2z_jax.train.workdir import CHECKPOINTS
from tests.data.tiny_datasets import video
from tests.processes import finish, finish_all, start, start_cluster
from tests.train import adapt_devices
from tests.train import adapt_world as world
from tests.xla import simulated

RUN = RunConfig(
    batch_size=2,
    loop=LoopConfig(steps=6, log_every=1, save_every=2, evaluate_every=2),
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=1, decay="none"),
)


@pytest.fixture(scope="module")
def mesh():
    return create_mesh(devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def system():
    return world.system()


@pytest.fixture(scope="module")
def data(system, mesh):
    return world.adaptation_data(system, mesh)


@pytest.fixture(scope="module")
def run(system, data, mesh):
    def run(workdir, **optimizer):
        config = replace(RUN, optimizer=replace(RUN.optimizer, **optimizer))
        return adapt(
            system, data, workdir=workdir, config=config,
            weights=AdaptWeights(), mesh=mesh,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def whole_run(run, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, run(workdir)


look = jax.jit(lambda net, image: net(image))
regress = jax.jit(lambda net, maps: net.regress(maps))


def arrays(net):
    return {name: np.asarray(x) for name, x in named_arrays(net).items()}


def history(workdir):
    return json.loads((workdir / "guard.json").read_text())


@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-6), ("bfloat16", 0.05)])
def test_cached_frames_say_what_the_network_says(system, mesh, rng, dtype, close):
    images = rng.integers(0, 255, (5, world.SIZE, world.SIZE, 3), dtype=np.uint8)
    # Two batches of three, the last one filled up.
    cache = build_cache(
        system.net, images, dtype=jnp.dtype(dtype), mesh=mesh, batch_size=3
    )
    direct = look(system.net, unit_range(jnp.asarray(images[1:4])))
    cached = regress(system.net, cache.rows(jnp.arange(1, 4)).maps)
    for name in ("z", "pose"):
        ours, theirs = getattr(cached, name), getattr(direct, name)
        scale = float(jnp.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, atol=close * scale, err_msg=name)
    np.testing.assert_array_equal(cache.image, images)
    assert cache.size_bytes > cache.image.nbytes


def test_rehearsal_and_the_guard_look_through_one_program(system, data, mesh):
    rows = np.union1d(data.video.learn, data.video.learn + 1)
    rehearse(
        system, data.video.frames, data.face, rows, world.moments(1),
        nearness=data.nearness, count=2, seed=0, mesh=mesh,
    )  # fmt: skip
    stage, judge = adapt_stage(system, data, weights=AdaptWeights(), mesh=mesh)
    state = create_state(stage, optax.sgd(1.0), mesh)
    judge(state.params, replicate(stage.frozen, mesh))
    networks = Graphs(split_trained(system.net)[0], nnx.split(system.dam)[0], mesh)
    assert program_of(networks)._cache_size() == 1


def test_caches_of_any_length_share_a_program(system, mesh):
    images = np.zeros((40, world.SIZE, world.SIZE, 3), np.uint8)
    graph, dtype = nnx.split(system.net)[0], jnp.dtype("float32")
    compiled = []
    for count in (3, 16, 40):
        cache = build_cache(system.net, images[:count], dtype=dtype, mesh=mesh)
        assert len(cache.image) == len(cache.maps.heatmaps) == count
        compiled.append(_streams(graph, world.SIZE, dtype, mesh)._cache_size())
    assert len(set(compiled)) == 1


def test_only_the_regressor_moves(system, whole_run):
    _, outcome = whole_run
    assert outcome.best_step > 0  # else the network compared is the one given
    before, after = arrays(system.net), arrays(outcome.system.net)
    moved = {n.split(".")[0] for n in before if (before[n] != after[n]).any()}
    assert moved
    assert moved <= {"unify", "encoders", "z_regressor", "pose_regressor"}
    assert outcome.system.dam is system.dam


def test_decoder_and_streams_get_no_gradient(system, data, mesh):
    """What is differentiated holds neither; what holds them is not differentiated."""
    stage, _ = adapt_stage(system, data, weights=AdaptWeights(), mesh=mesh)
    names = {str(path[0]) for path, _ in nnx.to_flat_state(stage.params)}
    assert names == {"unify", "encoders", "z_regressor", "pose_regressor"}
    _, _, rest = split_trained(system.net)
    streams = {str(path[0]) for path, _ in nnx.to_flat_state(rest)}
    assert {"vgg", "hourglass"} <= streams


def test_the_result_is_the_best_of_what_was_measured(whole_run):
    workdir, outcome = whole_run
    scores = {int(step): f["score"] for step, f in history(workdir).items()}
    assert set(scores) == {0, 2, 4, 6}
    assert outcome.best_step == min(scores, key=scores.__getitem__)
    assert outcome.after["score"] == scores[outcome.best_step]
    assert outcome.before["score"] == scores[0]
    json.dumps(outcome.report())


@pytest.mark.parametrize("draws", [1, 4])
def test_an_interrupted_run_repeats_the_uninterrupted_one(
    run, whole_run, tmp_path, monkeypatch, draws
):
    workdir, whole = whole_run
    drawn = []
    draw = Batches.__next__

    def draw_and_ask(self):
        drawn.append(None)
        if len(drawn) == draws:
            signal.raise_signal(signal.SIGTERM)
        return draw(self)

    monkeypatch.setattr(Batches, "__next__", draw_and_ask)
    assert run(tmp_path) is None
    monkeypatch.undo()
    resumed = run(tmp_path)
    assert history(tmp_path) == history(workdir)
    assert resumed.report() == whole.report()
    ours, theirs = arrays(resumed.system.net), arrays(whole.system.net)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_a_start_that_trained_nothing_leaves_no_judgement(run, whole_run, tmp_path):
    """It may have had another network or other held-out frames."""
    _, whole = whole_run
    figures = {**whole.before, "score": -1.0}
    (tmp_path / "guard.json").write_text(json.dumps({0: figures, 2: figures}))
    assert run(tmp_path).report() == whole.report()


def test_another_network_does_not_stand_in_for_the_best(tmp_path):
    state = {"a": jnp.zeros(3)}
    with closing(RunCheckpoints(tmp_path / CHECKPOINTS)) as checkpoints:
        for step, score in ((2, 0.2), (4, 0.1)):
            checkpoints.save(step, state, {"data": {}})
            checkpoints.judge(step, score)
    shutil.rmtree(tmp_path / CHECKPOINTS / "4")
    with pytest.raises(InputError, match="best network, of step 4, is not there"):
        _best(tmp_path, 4, abstract(state))


def test_no_better_returns_the_network_that_was_given(run, system, tmp_path):
    outcome = run(tmp_path, learning_rate=0.0)
    assert outcome.best_step == 0
    assert outcome.system is system
    assert outcome.before == outcome.after


def test_a_network_that_says_nothing_finite_is_refused_before_it_learns(
    system, data, mesh, tmp_path
):
    net = nnx.clone(system.net)
    kernel = net.z_regressor.layers[-1].kernel
    kernel[...] = jnp.full_like(kernel[...], jnp.nan)
    with pytest.raises(InputError, match="nothing finite"):
        adapt(
            system._replace(net=net), data, workdir=tmp_path, config=RUN,
            weights=AdaptWeights(), mesh=mesh,
        )  # fmt: skip
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_the_oracle_learns_the_truth(system, data, mesh, tmp_path):
    frames = data.video.frames
    still = look(system.net, unit_range(frames.image))
    # The truth: the face that the network sees now, 0.2 of the crop further right.
    pose = still.pose.at[:, 4].add(0.2)
    decode = jax.jit(lambda dam, z: dam.decode_vertices(z))
    truth = (pose, decode(system.dam, still.z))
    known = data._replace(video=data.video._replace(truth=truth))
    outcome = adapt(
        system, known, workdir=tmp_path, config=RUN, weights=AdaptWeights(),
        mesh=mesh, supervised=True,
    )  # fmt: skip
    assert outcome.before["vertex_mm"] == pytest.approx(0, abs=1e-4)
    history_px = [figures["pose_px"] for figures in history(tmp_path).values()]
    assert history_px[0] == pytest.approx(0.2 * 128, rel=1e-3)
    assert history_px[-1] < history_px[0]


def test_there_is_no_oracle_without_truth(system, data, mesh, tmp_path):
    with pytest.raises(InputError, match="without ground truth"):
        adapt(
            system, data, workdir=tmp_path, config=RUN, weights=AdaptWeights(),
            mesh=mesh, supervised=True,
        )  # fmt: skip


def test_a_collapse_ends_the_run_and_is_remembered(run, system, tmp_path, capsys):
    outcome = run(tmp_path, learning_rate=3.0)
    assert outcome.collapse is not None
    assert "guard stops the run at step 2: " in capsys.readouterr().err
    assert max(int(step) for step in history(tmp_path)) == 2
    assert outcome.system is system
    again = run(tmp_path, learning_rate=3.0)
    assert again.report() == outcome.report()


def test_a_network_without_landmarks_is_refused(system, tmp_path):
    card = system.net_card
    blind = replace(card, config=replace(card.config, variant="vgg+skip"))
    with pytest.raises(InputError, match="no landmark stream"):
        check_system(system._replace(net_card=blind), tmp_path)
    topology = replace(system.topology, landmark_faces=None, landmark_barycentric=None)
    with pytest.raises(InputError, match="no landmark map"):
        check_system(system._replace(topology=topology), tmp_path)


@pytest.fixture(scope="module")
def on_devices(tmp_path_factory, mesh):
    program = "-m", "tests.train.adapt_devices"
    said, _ = finish(start(*program, environment=simulated(4)), within=400)
    out = tmp_path_factory.mktemp("cluster") / "found.json"
    finish_all(start_cluster(*program, out, devices=2))
    found = json.loads(said.splitlines()[-1]) | json.loads(out.read_text())
    return found | {"one": adapt_devices.steps(mesh)}


@pytest.mark.parametrize("where", ["four", "2x2, fsdp"])
def test_many_devices_do_what_one_does(on_devices, where):
    one, ours = on_devices["one"], on_devices[where]
    np.testing.assert_allclose(ours["losses"], one["losses"], rtol=1e-4)
    for a, b in zip(ours["parameters"], one["parameters"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    for name, figure in one["figures"].items():
        np.testing.assert_allclose(ours["figures"][name], figure, rtol=5e-3, atol=1e-6)


def test_neither_frames_nor_frozen_weights_are_sent(on_devices):
    ours = on_devices["four"]
    assert set(ours["sent"]) == {"all-reduce"}
    # Every gradient once; beside them metrics, and the video's colours.
    assert ours["sent"]["all-reduce"] < 1.1 * ours["trained_bytes"]


def test_pairs_stay_on_their_side_and_cross_no_cut(system, mesh, tmp_path):
    """Frame i of the video is a picture of the grey level i."""
    frames, cut, repeated = 60, 22, 30
    video(tmp_path, cut=[0, cut], duplicate=[repeated], frames=frames)
    found = prepare_video(
        system, tmp_path, share_held_out=0.2, most_pairs=1000, dtype=jnp.float32,
        mesh=mesh,
    )  # fmt: skip
    number = np.asarray(found.frames.image)[:, 0, 0, 0].astype(int)
    out = judged_frames(frames, 0.2)
    for rows, side in ((found.learn, ~out), (found.judge, out)):
        now, then = number[rows], number[rows + 1]
        np.testing.assert_array_equal(then, now + 1)
        assert side[now].all()
        assert side[then].all()
    starts = number[np.r_[found.learn, found.judge]]
    assert cut - 1 not in starts
    assert repeated - 1 not in starts
    assert len(starts) == np.sum(out[:-1] == out[1:]) - 2
    assert found.truth is None
    fewer = prepare_video(
        system, tmp_path, share_held_out=0.2, most_pairs=10, dtype=jnp.float32,
        mesh=mesh,
    )  # fmt: skip
    assert len(fewer.learn) == 10
    assert len(fewer.judge) == 2


def test_a_video_too_short_to_judge_is_refused(system, mesh, tmp_path):
    """With one frame more there is something to learn from, and to judge."""
    options = {"share_held_out": 0.2, "most_pairs": 10, "mesh": mesh}
    prepare = partial(prepare_video, system, dtype=jnp.float32, **options)
    short, enough = tmp_path / "short", tmp_path / "enough"
    video(short, cut=[0], duplicate=[], frames=FEWEST_FRAMES - 1)
    with pytest.raises(InputError, match=r"too short .*20 or more.*19 frames"):
        prepare(short)
    video(enough, cut=[0], duplicate=[], frames=FEWEST_FRAMES)
    found = prepare(enough)
    assert len(found.learn) >= 10
    assert len(found.judge) >= 2
