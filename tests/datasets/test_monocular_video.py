# SPDX-License-Identifier: Apache-2.0
"""Videos into crops: order, time, boxes, ground truth, and what is missing."""

import os
from pathlib import Path

import numpy as np
import pytest

from i2z_jax.data import box_track, build_video, images, records, shards
from i2z_jax.data.box_file import read_boxes
from i2z_jax.data.build_options import BuildOptions, MonocularOptions
from i2z_jax.data.build_video import build
from i2z_jax.data.truth import VideoTruth, read_truth, truth_path
from i2z_jax.data.video_analysis import steady
from i2z_jax.errors import InputError
from i2z_jax.geometry.camera import project_weak
from tests.data.clips import gradient, write_clip
from tests.datasets.interrupted import interrupted

NAME = "monocular_video"
SHARED = Path(
    os.environ.get("I2Z_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")
)
PNG = MonocularOptions(crop_size=64, codec="png")


def rows(out):
    found = records.open_split(out, NAME, "train")
    return [found[i] for i in range(len(found))]


def with_boxes(tmp_path, count, options=PNG, box=(20.0, 10.0, 60.0, 50.0)):
    path = tmp_path / "boxes.npz"
    np.savez(path, boxes=np.tile(box, (count, 1)))
    return MonocularOptions(options.crop_size, options.codec, path)


@pytest.fixture
def frames(tmp_path):
    """Lossless frames, so that crops can be compared with them."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(8):
        image = gradient(shift=5 * number)
        (folder / f"{number:03d}.png").write_bytes(images.encode(image, "png"))
    return folder


def test_crops_are_in_order_and_show_what_the_map_says(frames, tmp_path):
    build((frames,), tmp_path, BuildOptions(), with_boxes(tmp_path, 8))
    found = rows(tmp_path)
    assert [r["frame"] for r in found] == list(range(8))
    np.testing.assert_allclose([r["time_s"] for r in found], np.arange(8) / 30)
    assert [r["cut"] for r in found] == [True] + [False] * 7
    for record in found:
        affine = record["crop_from_image"].astype(float)
        zoom, shift = affine[0, 0], affine[:, 2]
        crop = images.decode(record["image"]).astype(float)
        # The gradients of the picture, read in the crop where the map puts them.
        x = (np.arange(64) + 0.5 - shift[0]) / zoom
        inside = (x > 2) & (x < 94)
        row = int(zoom * 55 + shift[1])  # below the moving block
        expected = (x[inside] - 0.5) * 200 / 96
        assert np.abs(crop[row, inside, 0] - expected).max() < 2.5
        assert record["box_found"]


def test_frames_without_a_box_or_a_picture_are_gaps_that_cut(frames, tmp_path):
    boxes = np.tile([20.0, 10.0, 60.0, 50.0], (8, 1))
    np.savez(tmp_path / "b.npz", boxes=boxes)
    path = frames / "004.png"
    path.write_bytes(path.read_bytes()[:100])
    options = MonocularOptions(64, "png", tmp_path / "b.npz")
    summary = build((frames,), tmp_path, BuildOptions(), options)
    assert [r["frame"] for r in rows(tmp_path)] == [0, 1, 2, 3, 5, 6, 7]
    assert [r["frame"] for r in rows(tmp_path) if r["cut"]] == [0, 5]
    (gap,) = summary.gaps
    assert "004.png: damaged" in gap
    with pytest.raises(InputError, match=r"004\.png"):
        build((frames,), tmp_path / "s", BuildOptions(strict=True), options)


def test_boxes_corrected_meanwhile_are_in_the_build_that_goes_on(frames, tmp_path):
    wrong = with_boxes(tmp_path, 8)
    interrupted(build_video, (frames,), tmp_path, BuildOptions(), wrong)
    right = with_boxes(tmp_path, 8, box=(10.0, 20.0, 50.0, 60.0))
    build((frames,), tmp_path, BuildOptions(), right)
    for record in rows(tmp_path):
        np.testing.assert_allclose(record["box"], (10, 20, 50, 60))


def test_a_build_goes_on_with_the_faces_that_were_found(frames, tmp_path):
    looks = []

    def detect(image):
        looks.append(image)
        if len(looks) == stop:
            raise KeyboardInterrupt
        return np.array([[20.0, 10.0, 60.0 + image.mean() / 20, 50.0, 1.0]])

    stop = 0
    options = BuildOptions(workers=1)
    build((frames,), tmp_path / "whole", options, PNG, detect)
    looks.clear()
    stop = 6
    with pytest.raises(KeyboardInterrupt):
        build((frames,), tmp_path, options, PNG, detect)
    looks.clear()
    stop = 0
    build((frames,), tmp_path, options, PNG, detect)
    assert len(looks) == 3
    for ours, whole in zip(rows(tmp_path), rows(tmp_path / "whole"), strict=True):
        np.testing.assert_equal(ours, whole)


def test_a_face_is_followed_on_both_sides_of_a_long_absence(
    frames, tmp_path, monkeypatch
):
    monkeypatch.setattr(box_track, "LONGEST_MISS", 2)
    for number in range(8, 24):
        (frames / f"{number:03d}.png").write_bytes((frames / "000.png").read_bytes())
    looks = iter(range(24))

    def detect(image):
        there = next(looks) not in range(8, 16)
        return np.array([[20.0, 10.0, 60.0, 50.0, 1.0]] * there).reshape(-1, 5)

    summary = build((frames,), tmp_path, BuildOptions(), PNG, detect)
    assert [r["frame"] for r in rows(tmp_path)] == [*range(8), *range(16, 24)]
    assert "no face box for frame 8" in summary.gaps[0]


def test_boxes_of_an_older_pass_are_made_again(frames, tmp_path, monkeypatch):
    options = BuildOptions(), with_boxes(tmp_path, 8)
    build((frames,), tmp_path, *options)
    assert build_video.is_current((frames,), tmp_path, *options)
    monkeypatch.setattr(build_video, "SCANNER", build_video.SCANNER + 1)
    assert not build_video.is_current((frames,), tmp_path, *options)


def test_ground_truth_moves_with_the_crop(frames, tmp_path, rng):
    vertices = rng.normal(0, 40, (8, 30, 3))
    points = rng.uniform(10, 60, (8, 68, 2))
    pose = rng.normal(0, 0.2, (8, 6))
    pose[:, 0] += 0.012
    # The sidecar's own crop: the left 64 x 64 pixels of the frame, at twice the size.
    affine = np.tile([[2.0, 0, 0], [0, 2.0, 0]], (8, 1, 1))
    z = rng.normal(size=(8, 5)).astype(np.float32)
    truth = VideoTruth(pose, affine, 128, vertices, points, z)
    truth.save(truth_path(frames))
    build((frames,), tmp_path, BuildOptions(), with_boxes(tmp_path, 8))
    for record, h, v in zip(rows(tmp_path), pose, vertices, strict=True):
        in_frame = (project_weak(h, v)[:, :2] + 1) / 2 * 128 / 2
        affine = record["crop_from_image"].astype(float)
        expected = in_frame @ affine[:, :2].T + affine[:, 2]
        seen = project_weak(
            record["pose"].astype(float), record["vertices"].astype(float)
        )
        np.testing.assert_allclose((seen[:, :2] + 1) / 2 * 64, expected, atol=1e-3)
        assert record["has_truth"]
        np.testing.assert_array_equal(record["vertices"], v.astype(np.float32))
    first = rows(tmp_path)[0]
    affine = first["crop_from_image"].astype(float)
    back = (first["landmarks"] - affine[:, 2]) / np.diag(affine[:, :2])
    np.testing.assert_allclose(back, points[0], atol=1e-3)
    np.testing.assert_array_equal([record["z"] for record in rows(tmp_path)], z)


@pytest.mark.parametrize("known", [7, 9])
def test_a_sidecar_has_a_row_for_every_frame(frames, tmp_path, known):
    zeros = np.zeros((known, 6))
    affine = np.tile(np.eye(2, 3), (known, 1, 1))
    VideoTruth(zeros, affine, 64, np.zeros((known, 4, 3))).save(truth_path(frames))
    with pytest.raises(InputError, match=rf"8 frames, as clip has, got {known}"):
        build((frames,), tmp_path, BuildOptions(), with_boxes(tmp_path, 8))
    # The first frames of a longer clip are a build of their own.
    first = BuildOptions(max_frames=7)
    build((frames,), tmp_path / "first", first, with_boxes(tmp_path, 8))
    assert [r["has_truth"] for r in rows(tmp_path / "first")] == [True] * 7


def test_a_sidecar_is_of_one_video(frames, tmp_path):
    video = write_clip(tmp_path / "clip.mp4", [gradient() for _ in range(2)])
    assert truth_path(video) == truth_path(frames) == tmp_path / "clip.truth.npz"
    truth_path(video).touch()
    with pytest.raises(InputError, match=r"two videos \(got clip and clip\.mp4\)"):
        build((frames, video), tmp_path, BuildOptions(), PNG)


def test_the_sidecar_of_a_folder_has_its_whole_name(frames, tmp_path):
    take = frames.rename(tmp_path / "clip.take2")
    assert truth_path(take) == tmp_path / "clip.take2.truth.npz"


def test_a_sidecar_that_is_none(tmp_path):
    for name, text in (("a.npz", b"no zip"), ("b.npz", b"")):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(InputError, match="not a ground-truth sidecar"):
            read_truth(tmp_path / name)
    np.savez(tmp_path / "c.npz", pose=np.zeros((3, 6)))
    with pytest.raises(InputError, match="no field 'crop_from_image'"):
        read_truth(tmp_path / "c.npz")


def test_boxes_from_landmarks_and_from_a_table(tmp_path, rng):
    points = rng.uniform(0, 100, (5, 68, 2))
    np.savez(tmp_path / "points.npz", landmarks=points)
    boxes, source = read_boxes(tmp_path / "points.npz")
    np.testing.assert_allclose(boxes[:, 2:], points.max(axis=1))
    assert source == "landmarks"
    table = tmp_path / "boxes.csv"
    table.write_text("frame,left,top,right,bottom\n0,1,2,3,4\n2,5,6,7,8\n")
    boxes, source = read_boxes(table)
    np.testing.assert_array_equal(boxes[[0, 2]], [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert np.isnan(boxes[1]).all()
    assert source == "detector"
    # Another tool's score behind the box is no matter.
    table.write_text("0,1,2,3,4,high\n")
    np.testing.assert_array_equal(read_boxes(table)[0], [[1, 2, 3, 4]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "five numbers"),
        ("nothing of the kind\n", "five numbers .*got 'nothing of the kind'"),
        ("frame,left,top,right,bottom\n", "five numbers"),
        ("frame;left;top;right;bottom\n0;1;2;3;4\n", "commas .*got 'frame;left"),
        ("left,top,right,bottom,frame\n1,2,3,4,0\n", "other names .*got left,top"),
        ("0,1,2,3\n", "five numbers .*expected frame,left,top,right,bottom"),
        ("0,1,2,3,4\n-1,1,2,3,4\n", "frame's number .*expected 0, 1, .*got -1"),
        ("0.5,1,2,3,4\n", "frame's number .*got 0.5"),
        ("0,1,2,3,4\n7,30,2,10,4\n9,3,3,3,3\n", "frame 7 .*left < right.*30,2,10,4"),
        ("0,1,9,3,4\n", "frame 0 .*top < bottom.*got 1,9,3,4"),
    ],
)
def test_boxes_that_are_none_are_refused(tmp_path, text, says):
    table = tmp_path / "boxes.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=says) as error:
        read_boxes(table)
    assert "boxes.csv" in str(error.value)


def test_a_picture_in_the_place_of_boxes(tmp_path):
    (tmp_path / "face.png").write_bytes(b"\x89PNG\r\n")
    expected = r"expected \.npz with boxes or landmarks, or \.csv with frame,left,"
    with pytest.raises(InputError, match=f"face.png: not a box file .*{expected}"):
        read_boxes(tmp_path / "face.png")


def test_arrays_that_are_no_boxes_are_refused(tmp_path):
    path = tmp_path / "boxes.npz"
    for arrays, says in (
        ({"boxes": np.zeros((0, 4))}, "not one box"),
        ({"boxes": np.full((3, 4), np.nan)}, "not one box"),
        ({"boxes": np.ones((4, 5))}, "not a box file"),
        (
            {"landmarks": np.ones((2, 68, 2))},
            "box of frame 0 without extent .*got 1,1,1,1",
        ),
        ({"points": np.ones((2, 68, 2))}, "not a box file"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=says):
            read_boxes(path)


def test_given_boxes_are_bridged_as_far_as_seen_ones():
    """In the middle, at the end, and not across a cut."""
    seen = np.full((300, 4), np.nan)
    seen[[*range(50), *range(80, 100), *range(240, 245)]] = [10.0, 10.0, 110.0, 110.0]
    starts = np.zeros(340, bool)
    starts[[0, 320]] = True
    boxes, found = steady(seen, starts)
    np.testing.assert_array_equal(found[:300], np.isfinite(seen[:, 0]))
    assert not found[300:].any()
    there = np.flatnonzero(np.isfinite(boxes).all(axis=1))
    # 30 frames are bridged, 140 are not; at the end of the shot 75 are not held.
    np.testing.assert_array_equal(there, [*range(100), *range(240, 245)])


def test_frames_without_a_given_box_are_left_out(frames, tmp_path, monkeypatch):
    """A row of NaN and no row say the same, at the end too."""
    monkeypatch.setattr(box_track, "LONGEST_MISS", 2)
    box = "20,10,60,50"
    for end in ("", "7,nan,nan,nan,nan\n"):
        table = tmp_path / "boxes.csv"
        table.write_text(
            f"frame,left,top,right,bottom\n0,{box}\n1,{box}\n6,{box}\n{end}"
        )
        options = MonocularOptions(64, "png", table)
        summary = build((frames,), tmp_path, BuildOptions(overwrite=True), options)
        found = rows(tmp_path)
        assert [r["frame"] for r in found] == [0, 1, 6, 7]
        assert [r["frame"] for r in found if r["cut"]] == [0, 6]
        assert [r["frame"] for r in found if not r["box_found"]] == [7]
        assert len(summary.gaps) == 4
        assert "no face box for frame 2" in summary.gaps[0]


def test_several_videos_one_of_them_bad(tmp_path, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(folder / name, [gradient(shift=5 * i) for i in range(6)])
    (folder / "broken.mp4").touch()
    (folder / "poster.png").write_bytes(images.encode(gradient(), "png"))

    def detect(image):
        return np.array([[20.0, 10.0, 60.0, 50.0, 1.0]])

    summary = build((folder,), tmp_path, BuildOptions(max_frames=4), PNG, detect)
    found = rows(tmp_path)
    assert [r["video"] for r in found] == [b"a.mp4"] * 4 + [b"b.mp4"] * 4
    assert [i for i, r in enumerate(found) if r["cut"]] == [0, 4]
    (gap,) = summary.gaps
    assert "broken.mp4: empty file" in gap
    assert "poster.png" in capsys.readouterr().err


@pytest.mark.parametrize(("workers", "threads"), [(1, 1), (5, 2)])
def test_processes_share_the_threads(tmp_path, monkeypatch, workers, threads):
    """Each thread has whole frames in flight, so their number bounds the memory."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(folder / name, [gradient(shift=5 * i) for i in range(3)])

    def detect(image):
        return np.array([[20.0, 10.0, 60.0, 50.0, 1.0]])

    def write_shards(jobs, encode, *others, workers, **options):
        plans.append((workers, encode.keywords["threads"]))
        return shards.write_shards(jobs, encode, *others, workers=1, **options)

    plans = []
    monkeypatch.setattr(build_video, "write_shards", write_shards)
    build((folder,), tmp_path, BuildOptions(workers=workers), PNG, detect)
    assert plans == [(min(workers, 2), threads)]


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data folder")
def test_a_real_webcam_video(tmp_path):
    options = MonocularOptions(crop_size=128)
    summary = build(
        (SHARED / "video" / "webcam.mp4",),
        tmp_path,
        BuildOptions(workers=2, max_frames=300),
        options,
    )
    found = rows(tmp_path)
    assert summary.gaps == []
    assert [r["frame"] for r in found] == list(range(300))
    share = np.mean([r["duplicate"] for r in found])
    assert 0.1 < share < 0.3  # about a fifth of them, its description says
    assert [r["frame"] for r in found if r["cut"]] == [0]
    boxes = np.array([r["box"] for r in found])
    # One person, sitting: the box stays with the face and does not jump.
    assert np.abs(np.diff(boxes, axis=0)).max() < 5
