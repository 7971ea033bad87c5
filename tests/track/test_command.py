# SPDX-License-Identifier: Apache-2.0
"""The command from outside: inputs of every kind, bad ones, interruptions."""

import errno
import io
import os
import re
import shutil
import sys
from collections import Counter

import av
import cv2
import numpy as np
import pytest

from i2z_jax import commands
from i2z_jax.commands import main
from i2z_jax.data import row_files
from i2z_jax.errors import InputError
from i2z_jax.geometry.blendshapes import write_blend_shapes
from i2z_jax.report import track_outputs
from i2z_jax.track import networks, result, run, source
from tests.data.clips import turn_clockwise, write_clip
from tests.track import worlds


def track(video, checkpoint, out, *more: str) -> int:
    """The command's exit code."""
    words = ["track", str(video), "--checkpoint", str(checkpoint), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--min-confidence", "0", "--batch-size", "4", *more])
    return ended.value.code


def values(out) -> dict[str, np.ndarray]:
    with np.load(out / "track.npz", allow_pickle=False) as file:
        return dict(file)


def statuses(out) -> list[str]:
    found = values(out)
    return found["status_names"][found["status"]].tolist()


def complaint(capsys, out) -> str:
    """The one line of a failed run, which leaves nothing."""
    lines = [
        line
        for line in capsys.readouterr().err.splitlines()
        if line.startswith("i2z track")
    ]
    assert len(lines) == 1
    assert not out.exists()
    return lines[0]


def test_blend_shapes_are_looked_at_before_the_video(tmp_path, checkpoint, capsys):
    video, boxes = clip(tmp_path, 1)
    out = tmp_path / "out"
    more = "--boxes", boxes, "--blendshapes", str(tmp_path)
    assert track(video, checkpoint, out, *more) == 1
    assert "not a set of blend shapes" in complaint(capsys, out)


def test_frames_without_a_face_have_empty_cells(tmp_path, checkpoint):
    pictures = [worlds.picture(60 + 3 * i, 60) for i in range(3)]
    boxes = worlds.write_boxes(tmp_path / "boxes.csv", [(60, 60), None, None])
    video = write_clip(tmp_path / "clip.mp4", pictures)
    shapes, out = worlds.blend_shapes(), tmp_path / "out"
    write_blend_shapes(tmp_path / "shapes", shapes, worlds.topology())
    more = "--boxes", str(boxes), "--blendshapes", str(tmp_path / "shapes")
    assert track(video, checkpoint, out, *more) == 0
    usable = [name in ("tracked", "followed") for name in statuses(out)]
    lines = (out / "blendshapes.csv").read_text().splitlines()[1:]
    assert [not line.endswith(",,,") for line in lines] == usable


def clip(folder, frames):
    pictures = [worlds.picture(60 + 3 * i, 60) for i in range(frames)]
    centres = [(60 + 3 * i, 60) for i in range(frames)]
    boxes = worlds.write_boxes(folder / "boxes.csv", centres)
    return write_clip(folder / "clip.mp4", pictures), str(boxes)


@pytest.mark.parametrize("frames", [1, 3])
def test_very_short_videos(tmp_path, checkpoint, frames):
    video, boxes = clip(tmp_path, frames)
    assert track(video, checkpoint, tmp_path / "out", "--boxes", boxes) == 0
    assert statuses(tmp_path / "out") == ["tracked"] * frames
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"track.npz", "overlay.mp4", "mesh.glb", "report.html", "work"}


def test_the_report_says_what_smoothing_brought(tmp_path, checkpoint):
    video, boxes = clip(tmp_path, 3)
    out = tmp_path / "out"
    assert track(video, checkpoint, out, "--boxes", boxes, "--smooth", "0.1") == 0
    page = (out / "report.html").read_text()
    smooth, raw = map(float, re.findall(r"(\d+\.\d+) px, \d+\.\d+ mm", page))
    now = values(out)["mesh_landmarks"].astype(float)
    shake = np.linalg.norm(now[0] - 2 * now[1] + now[2], axis=-1).mean()
    assert smooth == pytest.approx(shake, abs=0.006)
    assert raw != smooth
    assert "without smoothing" in page


def test_one_picture(tmp_path, checkpoint):
    image = worlds.picture(70, 60)
    cv2.imwrite(str(tmp_path / "face.png"), image[..., ::-1])
    boxes = worlds.write_boxes(tmp_path / "boxes.csv", [(70, 60)])
    out = tmp_path / "out"
    code = track(tmp_path / "face.png", checkpoint, out, "--boxes", str(boxes))
    assert code == 0
    assert statuses(out) == ["tracked"]
    overlay = cv2.imread(str(out / "overlay.png"))
    assert overlay.shape == (120, 320, 3)
    assert not (out / "overlay.mp4").exists()


def test_a_folder_with_a_damaged_frame_and_a_rotated_phone_video_agree(
    tmp_path, checkpoint
):
    """The same pictures, once upright in a folder and once stored turned."""
    pictures = [worlds.picture(40 + 2 * i, 80, size=(120, 160)) for i in range(5)]
    boxes = worlds.write_boxes(tmp_path / "b.csv", [(40 + 2 * i, 80) for i in range(5)])
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, image in enumerate(pictures):
        cv2.imwrite(str(folder / f"{i:03d}.png"), image[..., ::-1])
    (folder / "002.png").write_bytes(b"not a picture")
    stored = [np.ascontiguousarray(np.rot90(image)) for image in pictures]
    phone = write_clip(tmp_path / "phone.mp4", stored)
    turn_clockwise(phone)
    results = []
    for video, name in ((folder, "a"), (phone, "b")):
        out = tmp_path / name
        assert (
            track(video, checkpoint, out, "--boxes", str(boxes), "--interpolate") == 0
        )
        results.append(values(out))
        assert results[-1]["frame_size"].tolist() == [120, 160]
    expected = ["tracked", "tracked", "interpolated", "tracked", "tracked"]
    assert statuses(tmp_path / "a") == expected
    good = [0, 1, 3, 4]
    # A frame that is missing interrupts the smoothing of the crops: px, not tenths.
    folder_crops, phone_crops = (r["crop_from_image"][good] for r in results)
    np.testing.assert_allclose(folder_crops, phone_crops, atol=3)


def test_cuts_and_repeated_frames_are_in_the_file(tmp_path, checkpoint):
    """Frame 2 repeats frame 1; frame 4 is the first of a shot in a bright room."""
    folder, centres = tmp_path / "frames", [(60 + 3 * i, 60) for i in range(6)]
    folder.mkdir()
    pictures = [worlds.picture(*centre) for centre in centres]
    pictures[2] = pictures[1]
    pictures[4:] = [255 - picture for picture in pictures[4:]]
    for i, image in enumerate(pictures):
        cv2.imwrite(str(folder / f"{i}.png"), image[..., ::-1])
    boxes, out = worlds.write_boxes(tmp_path / "boxes.csv", centres), tmp_path / "out"
    assert track(folder, checkpoint, out, "--boxes", str(boxes)) == 0
    assert np.flatnonzero(values(out)["cut"]).tolist() == [0, 4]
    assert np.flatnonzero(values(out)["duplicate"]).tolist() == [2]
    assert result.load(out / "track.npz").cut.tolist() == values(out)["cut"].tolist()


def test_frames_that_nothing_believes_in_are_marked(tmp_path, checkpoint):
    video, boxes = clip(tmp_path, 5)
    out = tmp_path / "out"
    words = ["track", str(video), "--checkpoint", str(checkpoint), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--boxes", boxes, "--min-confidence", "1", "--batch-size", "4"])
    assert ended.value.code == 0
    assert statuses(out) == ["lost"] * 5
    assert np.isnan(values(out)["pose"]).all()
    assert np.isfinite(values(out)["confidence"]).all()
    assert not (out / "mesh.glb").exists()
    assert "--min-confidence" in (out / "report.html").read_text()


def test_what_it_says_is_what_it_wrote(tmp_path, checkpoint, capsys):
    pictures = [worlds.picture(60 + 3 * i, 60) for i in range(5)]
    video = write_clip(tmp_path / "clip.mp4", pictures)
    centres = [None if i == 2 else (60 + 3 * i, 60) for i in range(5)]
    boxes = worlds.write_boxes(tmp_path / "boxes.csv", centres)
    out = tmp_path / "out"
    assert track(video, checkpoint, out, "--boxes", str(boxes), "--interpolate") == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    counts = [" ".join(words) for words in said if words[-1].startswith("frame")]
    assert counts[:2] == ["tracked 4 frames", "followed 1 frame"]
    assert Counter(statuses(out)) == {"tracked": 4, "followed": 1}


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
    more = ["--boxes", str(tracked.boxes), "--vertices", "--meshes", "ply"]
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
    assert "with another face; give" in capsys.readouterr().err
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
    assert track(folder, checkpoint, out, "--boxes", str(boxes)) == 130
    for edited, named in ((boxes, "boxes_file"), (folder / "1.png", "video_file")):
        whole = edited.read_bytes()
        edited.write_bytes(whole + b"\n")
        capsys.readouterr()
        assert track(folder, checkpoint, out, "--boxes", str(boxes)) == 1
        assert named in capsys.readouterr().err
        assert (out / "work" / "scan.npz").exists()


def test_two_runs_do_not_share_a_folder(tmp_path, tracked, capsys):
    out = tmp_path / "out"
    with run.hold(out):
        assert track(tracked.video, tracked.checkpoint, out, "--overwrite") == 1
        assert "another run is tracking here" in capsys.readouterr().err
    assert not out.exists()
    # A killed one leaves its file, and no lock.
    out.mkdir()
    (out / ".lock").touch()
    (out / "notes.txt").touch()
    with run.hold(out):
        pass
    assert [p.name for p in out.iterdir()] == ["notes.txt"]
    # Nor does a folder go that was there, such as the current one.
    (out / "notes.txt").unlink()
    with run.hold(out):
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
    boxes = ["--boxes", str(tracked.boxes)]
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
    more = ["--boxes", str(tracked.boxes), "--overwrite", "--max-frames", "3"]
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
    more = "--boxes", str(tracked.boxes), "--smooth", "1", "--meshes", "obj"
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
        more += ["--boxes", str(tracked.boxes)]
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
        going_on = {"work/settings.json", "work/scan.npz"}
        assert {name for name in left if name.startswith("work/")} == going_on
        left = {name: left[name] for name in left if name not in going_on}
        left = {name.replace("work.earlier", "work"): left[name] for name in left}
    assert left == before
    goes_on = "has what was done; the same command without --overwrite goes on"
    assert (goes_on in capsys.readouterr().err) == (end == "Ctrl-C")


def test_a_full_disk_costs_no_faces(tmp_path, tracked, monkeypatch):
    full = InputError("cannot write (No space left on device)")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(networks.Networks, "landmarks", raising(full))
    more = "--boxes", str(tracked.boxes)
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
    boxes = ["--boxes", str(tracked.boxes)]
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
    out, boxes = tmp_path / "out", ["--boxes", str(tracked.boxes)]
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


def audio(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        sound.rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


def plain(path):
    write_clip(path, [worlds.picture(0, 0, 0)] * 3)


def folder_of_clips(path):
    path.mkdir()
    plain(path / "clip.mp4")
    cv2.imwrite(str(path / "poster.png"), worlds.picture(0, 0, 0))


def of_an_unknown_codec(path):
    plain(path)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("audio.m4a", audio, "no video stream"),
        ("other.mp4", lambda p: p.write_bytes(b"\0" * 4000), "cannot be read"),
        ("empty.mp4", lambda p: p.touch(), "empty file"),
        ("nothing.mp4", lambda p: None, "not found"),
        ("folder", lambda p: p.mkdir(), "no pictures"),
        ("videos", folder_of_clips, "a folder of videos"),
        ("codec.mp4", of_an_unknown_codec, "no decoder"),
        ("wall.mp4", plain, "a tenth of the picture"),
        ("damaged.png", lambda p: p.write_bytes(b"\x89PNG"), "damaged"),
        ("77", lambda p: None, "camera"),
    ],
    ids=lambda v: v if isinstance(v, str) and " " not in v else "",
)
def test_bad_input_is_one_clear_line(tmp_path, tracked, capsys, name, make, says):
    make(tmp_path / name)
    path = name if name.isdigit() else tmp_path / name
    out = tmp_path / "out"
    assert track(path, tracked.checkpoint, out) == 1
    assert says in complaint(capsys, out)


@pytest.mark.parametrize("kind", ["no checkpoint", "of another preset"])
def test_a_wrong_checkpoint_is_one_clear_line(tmp_path, tracked, capsys, kind):
    folder = tmp_path / "system"
    if kind == "of another preset":
        worlds.save(folder, decoder_z_size=4)
    out = tmp_path / "out"
    assert track(tracked.video, folder, out) == 1
    line = complaint(capsys, out)
    assert ("z_size" if kind == "of another preset" else "not a tracker") in line


def test_usd_without_its_library_is_refused_before_any_work(
    tmp_path, tracked, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pxr", None)
    out = tmp_path / "out"
    assert track(tracked.video, tracked.checkpoint, out, "--usd") == 1
    assert "pip install '.[usd]'" in complaint(capsys, out)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--face", "0"),
        ("--batch-size", "0"),
        ("--smooth", "0"),
        ("--smooth", "nan"),
        ("--smooth", "inf"),
        ("--distance-mm", "0"),
        ("--min-confidence", "20"),
        ("--min-confidence", "nan"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    tmp_path, tracked, capsys, option, value
):
    out = tmp_path / "out"
    assert track(tracked.video, tracked.checkpoint, out, option, value) == 1
    assert option in complaint(capsys, out)
