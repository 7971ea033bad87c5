# SPDX-License-Identifier: Apache-2.0
"""`i2z train landmarks|dam|regress` from data to tracker, and what they refuse."""

import json
import shutil
from dataclasses import replace

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from i2z_jax import checkpoint
from i2z_jax.checkpoint import ModelCard
from i2z_jax.commands import train_dam
from i2z_jax.config import DAMConfig
from i2z_jax.data.pipeline import Views
from i2z_jax.drawing import HEAD, MARGIN, TITLE
from i2z_jax.errors import InputError
from i2z_jax.models.dam import DAM
from i2z_jax.models.parameters import split_trained
from i2z_jax.sharding import create_mesh
from i2z_jax.system import load_system
from i2z_jax.train import labels
from i2z_jax.train.adapt_data import prepare
from i2z_jax.train.pictures import SIDE
from i2z_jax.train.preemption import Preemption
from i2z_jax.train.run import run_mesh
from i2z_jax.train.workdir import hold
from tests import toy
from tests.command_line import i2z, refusal
from tests.data.tiny_datasets import video
from tests.train import event_file


def logged(workdir):
    """What a run has written, but for the clock's readings."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [{k: v for k, v in r.items() if k != "speed"} for r in records]


def weights(folder):
    arrays = checkpoint.named_arrays(checkpoint.load(folder))
    return {name: np.asarray(value) for name, value in arrays.items()}


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_capture_becomes_a_tracker(toy_models):
    system = load_system(toy_models["system"])
    image = jnp.full((2, system.image_size, system.image_size, 3), 0.5)
    seen = jax.jit(lambda net, image: net(image))(system.net, image)
    face = system.dam.decode(seen.z, jnp.asarray([[0.0, 0, 1]] * 2))
    assert face.vertices.shape == (2, system.topology.vertex_count, 3)
    assert all(np.isfinite(x).all() for x in (seen.z, seen.pose, *face))
    # Poses come out near the capture's, not near zero: the spread was stored.
    mean, std = labels.pose_statistics(Views(toy_models["data"], "train"))
    np.testing.assert_array_equal(system.net.pose_mean[...], mean)
    np.testing.assert_array_equal(system.net.pose_std[...], std)


def test_every_stage_logs_and_measures_held_out_data(toy_models):
    for name, folder in toy_models.items():
        if name == "data":
            continue
        lines = logged(folder.parent)
        assert [r["step"] for r in lines] == [2, 4, 6, 6]
        assert np.isfinite(lines[-1]["eval/loss"])
    assert "eval/nme" in logged(toy_models["hourglass"].parent)[-1]
    assert "eval/reprojection" in logged(toy_models["system"].parent)[-1]


def test_every_stage_shows_held_out_examples(toy_models):
    """In TensorBoard: the truth, which does not depend on the network, and figures."""
    columns = {"hourglass": 3, "vgg": 3, "dam": 3, "system": 3}
    for name, count in columns.items():
        board = toy_models[name].parent / "tensorboard"
        ((step, tag), picture) = next(iter(event_file.pictures(board).items()))
        assert (step, tag) == (6, "held_out")
        panels = picture[TITLE + HEAD :][:SIDE, MARGIN:].reshape(SIDE, count, SIDE, 3)
        assert all(panels[:, k].std() > 10 for k in range(count))
        last = logged(toy_models[name].parent)[-1]
        curves = event_file.curves(board)
        for figure, value in last.items():
            if figure != "step":
                assert curves[6, figure] == pytest.approx(value)
    views = Views(toy_models["data"], "test", fields=("texture",))
    board = toy_models["dam"].parent / "tensorboard"
    seen = event_file.pictures(board)[6, "held_out"][TITLE + HEAD :][:SIDE, MARGIN:]
    size = (toy.TEXTURE, toy.TEXTURE)
    small = cv2.resize(seen[::-1, :SIDE], size, interpolation=cv2.INTER_AREA)
    # Zoomed and shrunk again, so lone bright texels are not what they were.
    off, upside_down = (
        np.abs(np.int32(x) - views[0]["texture"]).mean() for x in (small, small[::-1])
    )
    assert off < 3 < upside_down


def test_the_result_is_the_last_network_or_the_best(toy_models, tmp_path, capsys):
    """With a figure that has its least in the middle of the run."""
    loop = replace(toy.RUN.loop, evaluate_every=2, best="eval/vertex_mm")
    run = replace(toy.RUN, loop=replace(loop, best_is="most"))
    last = weights(toy.dam(toy_models["data"], tmp_path, run=run))
    figures = {
        line["step"]: line["eval/vertex_mm"]
        for line in logged(tmp_path)
        if "eval/vertex_mm" in line
    }
    best = max(figures, key=figures.__getitem__)
    assert best < 6  # the error falls: the most is not at the end
    said = capsys.readouterr().err
    assert f"{figures[best]:.4g} at step {best} (best)" in said
    assert f"{figures[6]:.4g} at step 6 (last): the result is the last" in said
    assert_equal(last, weights(toy_models["dam"]))  # looking changes nothing
    # The finished run, asked for the other one: nothing is trained.
    before = (tmp_path / "metrics.jsonl").read_text()
    other = weights(
        toy.dam(toy_models["data"], tmp_path, run=replace(run, result="best"))
    )
    assert (tmp_path / "metrics.jsonl").read_text() == before
    name = "decoder.mesh.kernel"
    assert (other[name] != last[name]).any()


def test_a_best_that_nothing_can_tell_is_refused(toy_models, tmp_path):
    loop = replace(toy.RUN.loop, best="eval/nme")
    with pytest.raises(InputError, match=r"no held-out figure eval/nme .*eval/loss"):
        toy.dam(toy_models["data"], tmp_path, run=replace(toy.RUN, loop=loop))
    run = replace(toy.RUN, loop=replace(loop, best=""), result="best")
    with pytest.raises(InputError, match="nothing says which checkpoint"):
        toy.dam(toy_models["data"], tmp_path, run=run)


def test_a_stream_learns_from_views_of_the_person_too(toy_models, tmp_path):
    data = toy_models["data"]
    folder = toy.landmarks(data, tmp_path / "run", capture=data)
    assert checkpoint.read_card(folder).extras["capture"] == str(data)
    assert checkpoint.read_card(toy_models["hourglass"]).extras["capture"] is None
    ours, theirs = weights(folder), weights(toy_models["hourglass"])
    assert any((ours[name] != theirs[name]).any() for name in ours)
    # The same pictures of other people are held out.
    held_out = [
        set(logged(f)[-1]) for f in (folder.parent, toy_models["hourglass"].parent)
    ]
    assert held_out[0] == held_out[1] >= {"eval/nme"}


def test_streams_and_decoder_are_not_trained(toy_models):
    trained = weights(toy_models["system"] / "i2znet")
    for stream in ("vgg", "hourglass"):
        kept = {
            name.removeprefix(f"{stream}."): value
            for name, value in trained.items()
            if name.startswith(f"{stream}.")
        }
        assert_equal(kept, weights(toy_models[stream]))
    assert_equal(weights(toy_models["system"] / "dam"), weights(toy_models["dam"]))
    _, params, _ = split_trained(load_system(toy_models["system"]).net)
    parts = {path[0] for path, _ in nnx.to_flat_state(params)}
    assert parts == {"unify", "encoders", "z_regressor", "pose_regressor"}


def test_streams_that_are_trained_move_and_are_frozen_in_the_result(
    toy_models, tmp_path
):
    given = {name: toy_models[name] for name in ("dam", "vgg", "hourglass")}
    system = toy.regress(
        toy_models["data"], tmp_path / "run", **given, train_streams=True
    )
    trained = weights(system / "i2znet")
    for stream in ("vgg", "hourglass"):
        moved = [
            (trained[f"{stream}.{name}"] != value).any()
            for name, value in weights(given[stream]).items()
        ]
        assert sum(moved) > len(moved) / 3  # all but statistics
    net = load_system(system).net
    assert not net.trains_streams
    _, params, _ = split_trained(net)
    parts = {path[0] for path, _ in nnx.to_flat_state(params)}
    assert parts == {"unify", "encoders", "z_regressor", "pose_regressor"}
    with pytest.raises(InputError, match="--cache"):
        toy.regress(
            toy_models["data"], tmp_path / "2", **given, train_streams=True, cache=4
        )


def test_labels_are_the_encoder_s_means_by_frame(toy_models):
    dam = checkpoint.load(toy_models["dam"])
    z = labels.encode_frames(dam, toy_models["data"], batch_size=3)
    assert len(z) == 10
    fields = ("vertices", "average_texture")
    view = Views(toy_models["data"], "train", fields=fields)[3]
    texture = jnp.float32(view["average_texture"][None]) / 255
    posterior = dam.encode(jnp.asarray(view["vertices"][None]), texture)
    row = int(view["frame_index"])
    np.testing.assert_allclose(z[row], posterior.mean[0], rtol=1e-4, atol=1e-5)


def test_a_stopped_command_goes_on_as_if_it_had_not(
    toy_models, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        patch.setattr(Preemption, "requested", lambda self, step: step == 3)
        toy.dam(toy_models["data"], tmp_path / "run")
    assert not (tmp_path / "run/dam").exists()
    assert "stopped at step 3" in capsys.readouterr().err
    folder = toy.dam(toy_models["data"], tmp_path / "run")
    assert logged(tmp_path / "run") == logged(toy_models["dam"].parent)
    assert_equal(weights(folder), weights(toy_models["dam"]))

    # The newest checkpoint is damaged and the result lost: from the one before it.
    shutil.rmtree(folder)
    newest = max((tmp_path / "run/checkpoints").iterdir(), key=lambda p: int(p.name))
    for file in newest.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    toy.dam(toy_models["data"], tmp_path / "run")
    assert f"not readable, step {newest.name}" in capsys.readouterr().err
    assert_equal(weights(folder), weights(toy_models["dam"]))


def test_other_options_or_a_second_run_are_refused(toy_models, tmp_path):
    with (
        hold(tmp_path),
        pytest.raises(InputError, match="another run is training here"),
    ):
        toy.dam(toy_models["data"], tmp_path)
    with pytest.raises(InputError, match=r"emphasis was 2.0, is 3.0"):
        toy.dam(toy_models["data"], toy_models["dam"].parent, emphasis=3.0)


def test_a_decoder_of_another_mesh_is_refused(toy_models, tmp_path):
    sizes = DAMConfig(vertices=50, texture_size=toy.TEXTURE, z_size=8, cameras=2)
    card = ModelCard("dam", sizes, licence="none")
    checkpoint.save_model(tmp_path / "dam", DAM(sizes, rngs=nnx.Rngs(0)), card)
    streams = {name: toy_models[name] for name in ("vgg", "hourglass")}
    with pytest.raises(InputError, match="another mesh") as error:
        toy.regress(
            toy_models["data"], tmp_path / "run", dam=tmp_path / "dam", **streams
        )
    assert "expected 50 vertices, got 1089" in str(error.value)
    with pytest.raises(InputError, match="another mesh"):
        toy.dam(toy_models["data"], tmp_path / "again", start=tmp_path / "dam")


def test_a_batch_that_does_not_divide_is_refused_before_any_work():
    with pytest.raises(InputError, match=r"devices \(1\) x microbatches \(3\)"):
        run_mesh(replace(toy.RUN, microbatches=3))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("microbatches", 0),
        ("workers", -1),
        ("loop.steps", 0),
        ("loop.log_every", 0),
        ("loop.save_every", 0),
        ("loop.keep", 0),
        ("optimizer.warmup_steps", -3),
        ("optimizer.learning_rate", -0.001),
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.clip_norm", -1.0),
    ],
)
def test_numbers_that_mean_nothing_are_refused_before_any_work(option, value):
    *part, name = option.split(".")
    config = replace(toy.RUN, **{} if part else {name: value})
    if part:
        inner = replace(getattr(config, part[0]), **{name: value})
        config = replace(config, **{part[0]: inner})
    with pytest.raises(InputError) as error:
        run_mesh(config)
    given = f"--{option.replace('_', '-')}: too small"
    assert str(error.value).startswith(given)
    assert f"got {value})" in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"test_split": "commen"}, "no such split"), ({"sigma": 0.0}, "--sigma")],
)
def test_landmarks_refuse_what_cannot_be_meant(toy_models, tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        toy.landmarks(toy_models["data"], tmp_path / "run", **given)


def test_less_than_nothing_is_refused(toy_models, tmp_path):
    with pytest.raises(InputError, match=r"--cache: too small .*got -4"):
        toy.regress(toy_models["data"], tmp_path, dam=toy_models["dam"], cache=-4)
    with pytest.raises(InputError, match=r"--shape-size: .*0 with --variant vgg\+skip"):
        toy.regress(
            toy_models["data"], tmp_path, dam=toy_models["dam"], variant="vgg+skip",
            shape_size=64,
        )  # fmt: skip
    with pytest.raises(InputError, match=r"--emphasis: too small .*got -3"):
        toy.dam(toy_models["data"], tmp_path, emphasis=-3.0)


def test_a_tracker_learns_a_video_by_one_command(toy_models, tmp_path, capsys):
    """What it says, what it leaves, and that it goes on where it was."""
    clip, work = tmp_path / "clip", tmp_path / "run"
    video(clip, cut=[0], duplicate=[], frames=30)
    line = (
        f"adapt --video {clip} --checkpoint {toy_models['system']} --workdir {work} "
        f"--data {toy_models['data']} --distance-mm 700 --replay 4 --rehearse 4 "
        "--batch-size 2 --loop.steps 4 --loop.evaluate-every 2 --loop.save-every 2 "
        "--optimizer.warmup-steps 1"
    ).split()

    def adapted(*more):
        assert i2z(*line, *more) == 0
        return capsys.readouterr().out

    said = adapted()
    assert said.strip().endswith(str(work / "system"))
    assert "held-out frames" in said
    assert "is kept" in said
    found = json.loads((work / "adaptation.json").read_text())
    history = json.loads((work / "guard.json").read_text())
    assert set(history) == {"0", "2", "4"}
    best = min(history, key=lambda step: history[step]["score"])
    assert found["best_step"] in (0, int(best))
    result, given = (
        weights(x / "i2znet") for x in (work / "system", toy_models["system"])
    )
    moved = {
        name.split(".")[0] for name in given if (given[name] != result[name]).any()
    }
    assert moved <= {"unify", "encoders", "z_regressor", "pose_regressor"}
    assert bool(moved) == (found["best_step"] > 0)
    assert_equal(weights(work / "system/dam"), weights(toy_models["dam"]))
    (work / "adaptation.json").unlink()
    assert adapted() == said
    assert json.loads((work / "adaptation.json").read_text()) == found


def test_a_wrong_capture_is_refused_before_any_face_is_detected(
    toy_models, tmp_path, capsys
):
    line = f"adapt --video clip.mp4 --checkpoint {toy_models['system']}"
    words = f"{line} --workdir {tmp_path}/run --data {tmp_path}".split()
    assert "no built multiview_capture" in refusal(capsys, *words)
    assert not (tmp_path / "run").exists()


def test_a_short_video_is_called_what_the_user_called_it(toy_models, tmp_path, capsys):
    (tmp_path / "clip").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"clip/{number}.png"), np.zeros((64, 64, 3)))
    np.savez(tmp_path / "b.npz", boxes=[[10.0, 10, 50, 50]] * 3)
    line = f"adapt --video {tmp_path}/clip --checkpoint {toy_models['system']}"
    words = f"{line} --workdir {tmp_path}/run --boxes {tmp_path}/b.npz".split()
    assert f"{tmp_path}/clip: the video is too short" in refusal(capsys, *words)


def test_adaptation_without_lab_views_to_replay(toy_models, tmp_path):
    """Those that are drawn into the video stay, if they are asked for."""
    video(tmp_path, cut=[0], duplicate=[], frames=30)
    system = load_system(toy_models["system"])
    z = labels.encode_frames(system.dam, toy_models["data"])
    for rehearsed in (3, 0):
        data = prepare(
            system, tmp_path, toy_models["data"], nearness=1 / 600,
            share_held_out=0.2, most_pairs=4, replayed=0, rehearsed=rehearsed,
            seed=0, dtype=jnp.float32, mesh=create_mesh(),
        )  # fmt: skip
        assert data.watched is not None
        # Of the capture: the prior of z, and where the detector marks.
        np.testing.assert_allclose(data.prior.z_mean, z.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(data.prior.z_std, z.std(0), rtol=1e-4)
        assert np.abs(data.face.landmark_offset).max() > 0
        replay = data.replay
        assert (0 if replay is None else len(replay.pose)) == rehearsed


def test_data_that_is_not_finite_ends_the_run(toy_models, tmp_path, monkeypatch):
    good = Views._frame

    def bad(self, row):
        frame = good(self, row)
        return {**frame, "vertices": frame["vertices"] * np.float32(np.nan)}

    monkeypatch.setattr(Views, "_frame", bad)
    loop = replace(toy.RUN.loop, bad_steps=2)
    with pytest.raises(InputError, match="not finite in steps 1 to 2"):
        toy.dam(toy_models["data"], tmp_path, run=replace(toy.RUN, loop=loop))


def test_missing_streams_are_named(toy_models, tmp_path):
    with pytest.raises(InputError, match="needs a pretrained vgg stream"):
        toy.regress(toy_models["data"], tmp_path, dam=toy_models["dam"])
    with pytest.raises(InputError, match="not a vgg model"):
        toy.regress(
            toy_models["data"],
            tmp_path,
            dam=toy_models["dam"],
            vgg=toy_models["hourglass"],
            hourglass=toy_models["hourglass"],
        )
    assert not any(tmp_path.iterdir())  # before any work


def test_presets_bring_their_recipe():
    tiny = train_dam.defaults(["--preset=tiny"])
    paper = train_dam.defaults([])
    assert tiny.run.loop.steps < paper.run.loop.steps
    with pytest.raises(InputError, match="no such preset"):
        train_dam.defaults(["--preset", "huge"])
