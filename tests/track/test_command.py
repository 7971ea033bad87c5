# SPDX-License-Identifier: Apache-2.0
"""The command from outside: inputs of every kind, and bad ones."""

import re
import sys
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from i2z_jax.data.video import videos
from i2z_jax.errors import InputError
from i2z_jax.geometry.blendshapes import write_blend_shapes
from i2z_jax.track import result
from tests.data.clips import turn_clockwise, write_clip
from tests.track import worlds
from tests.track.command import plain, statuses, track, values


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
    for given, says in ((tmp_path, "not a set of blend shapes"), (video, "is a file")):
        more = "--boxes", boxes, "--blendshapes", given
        assert track(video, checkpoint, out, *more) == 1
        assert says in complaint(capsys, out)


def test_frames_without_a_face_have_empty_cells(tmp_path, checkpoint):
    pictures = [worlds.picture(60 + 3 * i, 60) for i in range(3)]
    boxes = worlds.write_boxes(tmp_path / "boxes.csv", [(60, 60), None, None])
    video = write_clip(tmp_path / "clip.mp4", pictures)
    shapes, out = worlds.blend_shapes(), tmp_path / "out"
    write_blend_shapes(tmp_path / "shapes", shapes, worlds.topology())
    more = "--boxes", boxes, "--blendshapes", tmp_path / "shapes"
    assert track(video, checkpoint, out, *more) == 0
    usable = [name in ("tracked", "followed") for name in statuses(out)]
    lines = (out / "blendshapes.csv").read_text().splitlines()[1:]
    assert [not line.endswith(",,,") for line in lines] == usable


def clip(folder, frames):
    pictures = [worlds.picture(60 + 3 * i, 60) for i in range(frames)]
    centres = [(60 + 3 * i, 60) for i in range(frames)]
    boxes = worlds.write_boxes(folder / "boxes.csv", centres)
    return write_clip(folder / "clip.mp4", pictures), boxes


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
    code = track(tmp_path / "face.png", checkpoint, out, "--boxes", boxes)
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
        assert track(video, checkpoint, out, "--boxes", boxes, "--interpolate") == 0
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
    assert track(folder, checkpoint, out, "--boxes", boxes) == 0
    assert np.flatnonzero(values(out)["cut"]).tolist() == [0, 4]
    assert np.flatnonzero(values(out)["duplicate"]).tolist() == [2]
    assert result.load(out / "track.npz").cut.tolist() == values(out)["cut"].tolist()


def test_frames_that_nothing_believes_in_are_marked(tmp_path, checkpoint):
    video, boxes = clip(tmp_path, 5)
    out = tmp_path / "out"
    more = "--boxes", boxes, "--min-confidence", "1"
    assert track(video, checkpoint, out, *more) == 0
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
    assert track(video, checkpoint, out, "--boxes", boxes, "--interpolate") == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    counts = [" ".join(words) for words in said if words[-1].startswith("frame")]
    assert counts[:2] == ["tracked 4 frames", "followed 1 frame"]
    assert Counter(statuses(out)) == {"tracked": 4, "followed": 1}


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


def test_an_address_is_called_one(tmp_path, tracked, capsys):
    address, out = "https://example.com/v.mp4", tmp_path / "out"
    assert track(address, tracked.checkpoint, out) == 1
    assert f"{address}: is an address (expected a file); dow" in complaint(capsys, out)
    with pytest.raises(InputError, match=f"{address}: is an address"):
        videos(Path(address))


def test_no_library_speaks_of_a_missing_camera(tmp_path, tracked, capfd):
    assert track("77", tracked.checkpoint, tmp_path / "out") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "camera 77: cannot be opened" in line


@pytest.mark.parametrize("kind", ["no checkpoint", "of another preset"])
def test_a_wrong_checkpoint_is_one_clear_line(tmp_path, tracked, capsys, kind):
    folder = tmp_path / "system"
    if kind == "of another preset":
        worlds.save(folder, decoder_z_size=4)
    out = tmp_path / "out"
    assert track(tracked.video, folder, out) == 1
    line = complaint(capsys, out)
    assert ("z_size" if kind == "of another preset" else "no such folder") in line


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
