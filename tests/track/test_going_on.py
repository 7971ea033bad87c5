# SPDX-License-Identifier: Apache-2.0
"""Runs that stop, go on, start anew, and make their outputs again."""

import errno
import io
import os
import shutil

import cv2
import numpy as np
import pytest

from i2z_jax import commands
from i2z_jax.data import row_files
from i2z_jax.errors import InputError
from i2z_jax.report import track_outputs
from i2z_jax.track import networks, source, work_folder
from tests.track import worlds
from tests.track.command import plain, track, values


def interrupting(monkeypatch, after: int) -> None:
    """Ctrl-C while the network is at its batch number `after`."""
    predict = networks.Networks.predict
    calls = []

    def failing(self, crops):
        calls.append(1)
        if len(calls) == after:
            raise KeyboardInterrupt
        return predict(self, crops)

    monkeypatch.setattr(networks.Networks, "predict", failing)


def test_an_interrupted_run_keeps_its_frames_and_goes_on(
    tmp_path, tracked, monkeypatch, capsys
):
    out = tmp_path / "out"
    more = ["--boxes", tracked.boxes, "--vertices", "--meshes", "ply"]
    monkeypatch.setattr(row_files, "CHUNK", 6)
    with monkeypatch.context() as patch:
        interrupting(patch, after=5)
        assert track(tracked.video, tracked.checkpoint, out, *more) == 130
    part = values(out)
    assert not part["complete"]
    assert 8 <= len(part["z"]) < 21
    assert "goes on from there" in capsys.readouterr().err
    # Other options do not go on from it; the same ones do, and do not start anew.
    code = track(tracked.video, tracked.checkpoint, out, *more, "--face", "2")
    assert code == 1
    assert "differently: face was 1, is 2; give" in capsys.readouterr().err
    done = []
    predict = networks.Networks.predict
    monkeypatch.setattr(
        networks.Networks, "predict",
        lambda self, crops: (done.append(len(crops)), predict(self, crops))[1],
    )  # fmt: skip
    assert track(tracked.video, tracked.checkpoint, out, *more) == 0
    assert sum(done) == 21 - len(part["z"])
    whole, expected = values(out), values(tracked.folder)
    assert whole["complete"]
    for name in ("z", "pose", "landmarks", "crop_from_image", "vertices", "status"):
        np.testing.assert_allclose(whole[name], expected[name], atol=1e-4, err_msg=name)


def test_a_run_does_not_go_on_with_files_that_were_edited(
    tmp_path, checkpoint, monkeypatch, capsys
):
    """Editing a frame in its place leaves the folder's own time as it was."""
    folder, out = tmp_path / "frames", tmp_path / "out"
    folder.mkdir()
    for i in range(2):
        image = worlds.picture(60 + 3 * i, 60)
        cv2.imwrite(str(folder / f"{i}.png"), image[..., ::-1])
    boxes = worlds.write_boxes(tmp_path / "boxes.csv", [(60, 60), (63, 60)])
    interrupting(monkeypatch, after=1)
    assert track(folder, checkpoint, out, "--boxes", boxes) == 130
    for edited, named in ((boxes, "boxes"), (folder / "1.png", "video")):
        whole = edited.read_bytes()
        edited.write_bytes(whole + b"\n")
        capsys.readouterr()
        assert track(folder, checkpoint, out, "--boxes", boxes) == 1
        assert f"differently: {named} edited" in capsys.readouterr().err
        assert (out / "work" / "scan.npz").exists()


def test_two_runs_do_not_share_a_folder(tmp_path, tracked, capsys):
    out = tmp_path / "out"
    with work_folder.hold(out):
        assert track(tracked.video, tracked.checkpoint, out, "--overwrite") == 1
        assert "another run is tracking here" in capsys.readouterr().err
    assert not out.exists()
    # A killed one leaves its file, and no lock.
    out.mkdir()
    (out / ".lock").touch()
    (out / "notes.txt").touch()
    with work_folder.hold(out):
        pass
    assert [p.name for p in out.iterdir()] == ["notes.txt"]
    # Nor does a folder go that was there, such as the current one.
    (out / "notes.txt").unlink()
    with work_folder.hold(out):
        pass
    assert out.exists()


def test_a_camera_is_recorded_again_and_no_recording_is_lost(
    tmp_path, tracked, monkeypatch
):
    """Not by a camera that fails, nor by a recording without a face; and an interrupted
    run goes on with its own one."""
    out, recordings = tmp_path / "out", []

    def recording(index, path, limit):
        recordings.append(path.name)
        if len(recordings) == 2:
            raise InputError("the camera gives no picture")
        if len(recordings) == 3:
            plain(path)
        else:
            shutil.copy(tracked.video, path)

    monkeypatch.setattr(source, "record_camera", recording)
    boxes = ["--boxes", tracked.boxes]
    assert track("77", tracked.checkpoint, out, *boxes) == 0
    before = results(out)
    assert track("77", tracked.checkpoint, out, "--overwrite") == 1
    assert results(out) == before
    assert track("77", tracked.checkpoint, out, "--overwrite") == 1
    assert results(out).items() > before.items()
    with monkeypatch.context() as patch:
        interrupting(patch, after=3)
        code = track("77", tracked.checkpoint, out, *boxes, "--overwrite")
        assert code == 130
    assert track("77", tracked.checkpoint, out, *boxes) == 0
    assert values(out)["video"] == "camera3.mp4"
    assert recordings == ["camera.mp4", "camera2.mp4", "camera2.mp4", "camera3.mp4"]
    assert contents(out)["camera.mp4"] == before["camera.mp4"]


def test_existing_output_is_refused_or_replaced(tmp_path, tracked, capsys):
    out = tmp_path / "out"
    shutil.copytree(tracked.folder, out)
    (out / "notes.txt").write_text("mine")
    before = os.stat(out / "track.npz").st_mtime_ns
    assert track(tracked.video, tracked.checkpoint, out) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert os.stat(out / "track.npz").st_mtime_ns == before
    more = ["--boxes", tracked.boxes, "--overwrite", "--max-frames", "3"]
    assert track(tracked.video, tracked.checkpoint, out, *more) == 0
    assert len(values(out)["z"]) == 3
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "meshes").exists()


def contents(folder) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def results(folder) -> dict[str, bytes]:
    """All but what the run keeps for itself."""
    found = contents(folder).items()
    return {name: data for name, data in found if not name.startswith("work")}


def test_other_outputs_are_made_without_tracking_again(tmp_path, tracked, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(tracked.folder, out)
    for done in ("landmarks", "predict"):
        monkeypatch.setattr(networks.Networks, done, raising(AssertionError()))
    more = "--boxes", tracked.boxes, "--smooth", "1", "--meshes", "obj"
    assert track(tracked.video, tracked.checkpoint, out, *more) == 0
    assert {path.suffix for path in (out / "meshes").iterdir()} == {".obj", ".png"}
    assert not (out / "mesh.usdz").exists()
    # A run that fails in its outputs has not cost the earlier ones.
    whole = contents(out)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(track_outputs, "write_video", raising(full))
    assert track(tracked.video, tracked.checkpoint, out, *more[:2]) == 1
    assert contents(out).keys() == whole.keys()
    now, before = values(out), values(tracked.folder)
    np.testing.assert_array_equal(now["landmarks"], before["landmarks"])
    now = dict(np.load(io.BytesIO(whole["track.npz"])))
    shake = [np.abs(np.diff(found["z"], 2, axis=0)).mean() for found in (now, before)]
    assert shake[0] < shake[1]


@pytest.mark.parametrize("end", ["no face", "no networks", "Ctrl-C", "killed"])
def test_what_was_there_outlives_a_run_without_results(
    tmp_path, tracked, monkeypatch, capsys, end
):
    out, wall, more = tmp_path / "out", tmp_path / "wall.mp4", ["--overwrite"]
    shutil.copytree(tracked.folder, out)
    before = contents(out)
    plain(wall)
    video = wall if end == "no face" else tracked.video
    if end != "no face":
        more += ["--boxes", tracked.boxes]
        stop = {
            "no networks": InputError("out of memory"),
            "Ctrl-C": KeyboardInterrupt(),
            "killed": commands.Terminated(),
        }[end]
        monkeypatch.setattr(networks.Networks, "landmarks", raising(stop))
    code = {"Ctrl-C": 130, "killed": 143}.get(end, 1)
    assert track(video, tracked.checkpoint, out, *more) == code
    left = contents(out)
    if code > 128:
        # Beside the earlier run there is what the new one can go on with.
        new = {name for name in left if name.startswith("work.new/")}
        assert new == {"work.new/settings.json", "work.new/scan.npz"}
        left = {name: left[name] for name in left if name not in new}
    assert left == before
    goes_on = "has what was done; the same command without --overwrite goes on"
    assert (goes_on in capsys.readouterr().err) == (end == "Ctrl-C")


def test_a_full_disk_costs_no_faces(tmp_path, tracked, monkeypatch):
    full = InputError("cannot write (No space left on device)")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(networks.Networks, "landmarks", raising(full))
    more = "--boxes", tracked.boxes
    assert track(tracked.video, tracked.checkpoint, tmp_path / "out", *more) == 1
    assert (tmp_path / "out" / "work" / "scan.npz").exists()


def raising(error: BaseException):
    def raises(*_):
        raise error

    return raises


def test_a_part_of_a_new_run_takes_the_place_of_an_old_one(
    tmp_path, tracked, monkeypatch, capsys
):
    """As a whole: no mesh of the old one stays beside its values."""
    out = tmp_path / "out"
    shutil.copytree(tracked.folder, out)
    (out / "notes.txt").write_text("mine")
    boxes = ["--boxes", tracked.boxes]
    with monkeypatch.context() as patch:
        interrupting(patch, after=3)
        code = track(tracked.video, tracked.checkpoint, out, *boxes, "--overwrite")
        assert code == 130
    assert not values(out)["complete"]
    names = {path.name for path in out.iterdir()}
    assert names == {"track.npz", "work", "notes.txt"}
    assert "the same command without --overwrite goes on" in capsys.readouterr().err
    assert track(tracked.video, tracked.checkpoint, out, *boxes) == 0
    assert values(out)["complete"]
    names = {path.name for path in out.iterdir()}
    outputs = {"track.npz", "overlay.mp4", "mesh.glb", "report.html"}
    assert names == outputs | {"notes.txt", "work"}


def test_a_run_that_goes_on_replaces_what_an_older_one_left(
    tmp_path, tracked, monkeypatch
):
    """The new one was stopped before it had a frame: the old results are there."""
    out, boxes = tmp_path / "out", ["--boxes", tracked.boxes]
    shutil.copytree(tracked.folder, out)
    with monkeypatch.context() as patch:
        patch.setattr(networks.Networks, "landmarks", raising(KeyboardInterrupt()))
        code = track(tracked.video, tracked.checkpoint, out, *boxes, "--overwrite")
        assert code == 130
    assert (out / "meshes").exists()
    assert track(tracked.video, tracked.checkpoint, out, *boxes) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"track.npz", "overlay.mp4", "mesh.glb", "report.html", "work"}


def test_a_half_removed_run_is_not_gone_on_with(tmp_path, tracked, capsys):
    """Its settings go first; and a folder of the user's own may have its name."""
    work = tmp_path / "out" / "work"
    work.mkdir(parents=True)
    (work / "rows-00001.npz").write_bytes(b"of some run")
    assert track(tracked.video, tracked.checkpoint, tmp_path / "out") == 1
    assert "already exists" in capsys.readouterr().err
    assert [path.name for path in work.iterdir()] == ["rows-00001.npz"]
