# SPDX-License-Identifier: Apache-2.0
"""The validator: every kind of damage is found, and a good folder is called good."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from i2z_jax.data import ibug, images, records
from i2z_jax.data.build_multiview import build
from i2z_jax.data.build_options import BuildOptions, MultiviewOptions
from i2z_jax.data.capture_topology import topology_of
from i2z_jax.data.check import check
from i2z_jax.data.check_report import contact_sheet
from i2z_jax.data.krt import write_krt
from i2z_jax.data.multiface import Capture
from i2z_jax.data.pipeline import Views
from i2z_jax.data.truth import VideoTruth
from i2z_jax.errors import InputError
from tests.command_line import i2z, refusal
from tests.data.captures import CAMERAS, camera_at, write_capture
from tests.data.clips import gradient, write_clip
from tests.data.landmark_folders import face, write_layout, write_pair
from tests.data.tiny_datasets import multiview
from tests.memory import most_memory

SHARED = Path(
    os.environ.get("I2Z_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("check") / "capture")


@pytest.fixture
def capture(sound, tmp_path):
    root = tmp_path / "capture"
    shutil.copytree(sound, root)
    return Capture(root)


def test_a_sound_capture(sound):
    report = check(sound)
    assert report.layout == "multiface capture"
    assert report.usable(strict=True)
    assert report.facts["frames that are whole"] == 9
    assert report.facts["views"] == 27
    assert len({caption.split()[-1] for caption, _ in report.cells}) == 3


def test_the_overlay_lies_on_the_face(sound):
    for _, cell in check(sound).cells:
        green = np.argwhere((cell[..., 1] > 200) & (cell[..., 0] < 120))
        skin = np.argwhere(cell[..., 0] > 180)
        # The dots fill the face that was painted from the same projection.
        for end in (np.min, np.max):
            np.testing.assert_allclose(end(green, axis=0), end(skin, axis=0), atol=12)


def test_every_gap_of_a_capture_is_listed(capture):
    frames, paths = capture.frames, capture.paths
    paths.image(frames[0], "400000").unlink()
    image = paths.image(frames[0], "400001")
    image.write_bytes(image.read_bytes()[:-30])
    paths.texture(frames[1]).write_bytes(b"")
    paths.mesh(frames[2]).write_bytes(np.zeros(6, "f4").tobytes())
    paths.mesh(frames[3]).write_bytes(np.full(900, np.nan, "f4").tobytes())
    paths.transform(frames[4]).write_text("1 0 0 0\n0 1 0 0\n")
    small = images.encode(np.zeros((20, 20, 3), np.uint8), "png")
    paths.image(frames[5], "400001").write_bytes(small)
    shutil.rmtree(paths.root / "unwrapped_uv_1024" / "EXP_ROM07" / "average")
    shutil.rmtree(paths.root / "images" / "E002_Smile" / "400002")
    (paths.root / "images" / "E001_Neutral" / "400077").mkdir()
    report = check(paths.root)
    assert report.usable()
    assert not report.usable(strict=True)
    found = {kind: len(lines) for kind, lines in report.gaps.items()}
    assert found.pop("face outside the picture", 0) <= 1  # the small one may be
    assert found == {
        "missing image": 1,
        "damaged image": 1,
        "damaged average texture": 1,
        "missing average texture": 3,
        "segment without average/": 1,
        "mesh": 2,
        "head pose": 1,
        "camera without images": 1,
        "camera absent from KRT": 1,
        "wrong size": 1,
    }


def test_a_capture_whose_cameras_do_not_fit_is_not_usable(capture):
    # World and camera mixed up: the inverse of each [R | t].
    swapped = {}
    for name, camera in CAMERAS.items():
        rotation, shift = (
            camera.camera_from_world[:, :3],
            camera.camera_from_world[:, 3],
        )
        inverse = np.column_stack([rotation.T, -rotation.T @ shift])
        swapped[name] = camera._replace(camera_from_world=inverse)
    write_krt(capture.paths.krt, swapped)
    report = check(capture.paths.root)
    assert not report.usable()
    assert "mesh and camera disagree" in report.errors
    write_krt(capture.paths.krt, {"400000": camera_at(0.0)})
    (capture.paths.root / "tex_var.txt").unlink()
    assert not check(capture.paths.root).usable()


def test_a_capture_of_which_no_picture_can_be_read_is_not_usable(capture):
    deep = cv2.imencode(".png", np.zeros((200, 160), np.uint16))[1].tobytes()
    for frame in capture.frames:
        for name in capture.cameras:
            capture.paths.image(frame, name).write_bytes(deep)
    report = check(capture.paths.root)
    assert list(report.errors) == ["nothing readable"]
    (lines,) = report.gaps.values()
    assert len(lines) == len(set(lines)) == 27


@pytest.mark.parametrize("kind", ["average", "view"])
def test_textures_of_another_size_are_no_gap_when_all_are(capture, kind):
    """What `data check` says is what a build does."""
    paths = [
        capture.paths.texture(frame, *names)
        for frame in capture.frames
        for names in ([()] if kind == "average" else [(n,) for n in capture.cameras])
    ]
    small = images.encode(np.zeros((8, 8, 3), np.uint8), "png")
    root = capture.paths.root
    paths[0].write_bytes(small)
    report = check(root)
    assert report.usable()
    assert str(paths[0]) in report.gaps["wrong size"][0]
    for path in paths:
        path.write_bytes(small)
    assert list(check(root).errors) == ["wrong size"]
    with pytest.raises(InputError, match="nothing could be built"):
        build((root,), root.parent / "out", BuildOptions(), MultiviewOptions())
    large = images.encode(np.zeros((64, 64, 3), np.uint8), "png")
    for path in paths:
        path.write_bytes(large)
    assert check(root).usable(strict=True)
    build((root,), root.parent / "out", BuildOptions(strict=True), MultiviewOptions())


def test_views_without_textures_need_a_build_without(capture):
    root, out = capture.paths.root, capture.paths.root.parent / "out"
    for frame in capture.frames:
        for name in capture.cameras:
            capture.paths.texture(frame, name).unlink()
    (line,) = check(root).errors["no textures"]
    assert "--no-view-textures" in line
    with pytest.raises(InputError, match="nothing could be built"):
        build((root,), out, BuildOptions(), MultiviewOptions())
    build((root,), out, BuildOptions(), MultiviewOptions(view_textures=False))


def test_a_capture_s_topology_is_looked_at(capture):
    root = capture.paths.root
    capture.paths.topology.unlink()
    topology_of.cache_clear()  # it is read once by a process
    report = check(root)
    assert list(report.gaps) == ["no topology"]
    assert report.usable()
    other = root / "tracked_mesh" / "E001_Neutral" / "000012.obj"
    other.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n" + "vt 0 0\n" * 3 + "f 1/1 2/2 3/3\n")
    topology_of.cache_clear()
    (line,) = check(root).errors["topology"]
    assert "another mesh (expected 300 vertices, got 3)" in line


def test_landmark_folders(tmp_path, rng):
    root = write_layout(tmp_path / "300W", rng)
    report = check(root)
    assert report.layout == "300-W"
    assert report.usable()
    assert set(report.gaps) == {"fewer than published"}
    assert len({caption for caption, _ in report.cells}) == len(report.cells)
    assert any(caption.startswith("helen/t") for caption, _ in report.cells)
    afw = root / "afw"
    (afw / "image_000.pts").unlink()
    (afw / "image_001.pts").write_text("{\n" + "1 1\n" * 67 + "}")
    write_pair(afw / "far", rng)
    ibug.write_pts(afw / "far.pts", ibug.read_pts(afw / "far.pts") + 1000)
    (afw / "ALONE.PTS").touch()
    for hidden in ("._image_001.png", "._alone.pts"):
        (afw / hidden).write_bytes(b"\0\5\x16\7")
    found = check(root).gaps
    assert "image_000.png" in found["picture without landmarks"][0]
    assert "expected 68, got 67" in found["bad landmarks"][0]
    assert "68 points outside 120x100" in found["landmarks out of bounds"][0]
    (alone,) = found["landmarks without picture"]
    assert "ALONE.PTS" in alone
    assert "unreadable picture" not in found


def test_a_folder_of_upper_case_markup(tmp_path, rng):
    write_pair(tmp_path / "a", rng)
    (tmp_path / "a.png").rename(tmp_path / "A.PNG")
    (tmp_path / "a.pts").rename(tmp_path / "A.PTS")
    report = check(tmp_path)
    assert report.layout == "pictures with .pts"
    assert report.facts["usable"] == 1
    assert report.facts["to be built"].startswith("no: ")


def test_zero_based_landmarks_are_noticed(tmp_path, rng):
    for number in range(3):
        image, points = face(rng)
        points[0] = (0.5, 40.5)  # a landmark on the first column of pixels
        (tmp_path / f"{number}.png").write_bytes(images.encode(image, "png"))
        ibug.write_pts(tmp_path / f"{number}.pts", points)
    assert check(tmp_path).gaps == {}
    for path in tmp_path.glob("*.pts"):
        ibug.write_pts(path, ibug.read_pts(path) - 1)
    assert "3 files" in check(tmp_path).gaps["apparently 0-based"][0]


def test_videos(tmp_path):
    wall = write_clip(tmp_path / "wall.mp4", [gradient(shift=4 * i) for i in range(5)])
    report = check(wall)
    assert report.facts["wall.mp4"]["frames"] == 5
    assert report.facts["wall.mp4"]["size"] == "96x64"
    assert not report.usable()
    assert "--boxes" in report.gaps["no face"][0]
    (tmp_path / "broken.mov").write_bytes(b"nothing")
    (tmp_path / "poster.png").write_bytes(images.encode(gradient(), "png"))
    report = check(tmp_path)
    assert "broken.mov" in report.gaps["unreadable video"][0]
    assert report.facts["wall.mp4"]["frames"] == 5
    assert "poster.png" in report.facts["passed over"]


def test_a_video_that_is_named_needs_no_ending(tmp_path):
    frames = [gradient(shift=4 * i) for i in range(5)]
    clip = write_clip(tmp_path / "clip.mp4", frames).rename(tmp_path / "clip.part")
    assert check(clip).facts["clip.part"]["frames"] == 5


@pytest.mark.parametrize("ending", ["3gp", "MTS", "m2ts", "ts", "mpg", "mpeg"])
def test_videos_of_a_folder_by_their_endings(tmp_path, ending):
    frames = [gradient(shift=4 * i) for i in range(5)]
    write_clip(tmp_path / "clip.mp4", frames).rename(tmp_path / f"clip.{ending}")
    assert check(tmp_path).facts[f"clip.{ending}"]["frames"] == 5


def test_a_truth_of_another_length_costs_its_video(tmp_path):
    clip = write_clip(tmp_path / "wall.mp4", [gradient(shift=4 * i) for i in range(5)])
    for rows in (5, 4, 6):
        crop = np.tile(np.eye(2, 3), (rows, 1, 1))
        truth = VideoTruth(np.zeros((rows, 6)), crop, 64, np.zeros((rows, 4, 3)))
        truth.save(tmp_path / "wall.truth.npz")
        report = check(clip)
        if rows == 5:
            assert report.facts["wall.mp4"]["ground truth"] == "yes"
        assert ("ground truth" in report.gaps) == (rows != 5)
        assert report.cells  # what it looks like, all the same


def test_frames_that_are_there_twice(tmp_path):
    for name in ("1.jpg", "1.png", "2.jpg", "2.png", "3.jpg", "3.png"):
        codec = "png" if name.endswith("png") else "jpeg"
        (tmp_path / name).write_bytes(images.encode(gradient(), codec))
    (facts,) = check(tmp_path).facts.values()
    assert facts["frames"] == 6
    assert facts["frames a second"] == 30


def test_a_picture_without_a_number_is_no_frame_and_named(tmp_path):
    for number in range(3):
        path = tmp_path / f"{number}.png"
        path.write_bytes(images.encode(gradient(shift=4 * number), "png"))
    (tmp_path / "check.png").write_bytes(images.encode(gradient(48, 48), "png"))
    report = check(tmp_path)
    assert report.facts[tmp_path.name]["frames"] == 3
    assert "check.png" in report.facts["passed over"]
    assert "unreadable frame" not in report.gaps


def test_a_video_is_checked_a_frame_at_a_time(tmp_path):
    frame = gradient(1280, 720)
    clip = write_clip(tmp_path / "wall.mp4", [frame] * 24)
    with most_memory() as most:
        report = check(clip)
        assert most() < 6 * frame.nbytes
    assert "24 looked at" in report.facts["wall.mp4"]["face found in"]
    assert len(report.cells) == 12


def test_what_is_no_dataset(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a.zip").touch()
    (tmp_path / "notes.txt").write_text("of the recording")
    for name, reason in (
        ("empty", "no layout that is known"),
        ("notes.txt", "no layout that is known"),
        ("loop", "cannot read"),
        ("absent", "cannot read"),
        ("a.zip", "an archive"),
    ):
        with pytest.raises(InputError, match=reason):
            check(tmp_path / name)
    assert "no layout that is known" in refusal(
        capsys, "data", "check", tmp_path / "empty"
    )


@pytest.mark.parametrize("option", ["--picture", "--json"])
def test_a_folder_in_the_place_of_a_result_is_refused(tmp_path, capsys, option):
    said = refusal(capsys, "data", "check", tmp_path / "absent", option, tmp_path)
    assert f"{tmp_path}: is a folder" in said


def test_the_picture_is_not_drawn_into_the_data(sound, tmp_path, monkeypatch, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "1.png").write_bytes(images.encode(gradient(), "png"))
    (tmp_path / "link").symlink_to("frames")
    monkeypatch.chdir(frames)
    for data in (".", tmp_path, tmp_path / "link"):
        said = refusal(capsys, "data", "check", data)
        assert "check.png: the picture would lie in the data" in said
        assert "--picture" in said
    assert [path.name for path in frames.iterdir()] == ["1.png"]
    # From within a dataset, to another place.
    home = tmp_path / "home"
    monkeypatch.chdir(sound)
    assert i2z("data", "check", ".", "--picture", home / "a.png") == 0
    assert (home / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(("inside", "given"), [("takes", "."), ("takes/a", "..")])
def test_the_current_folder_is_called_by_its_name(
    tmp_path, monkeypatch, capsys, inside, given
):
    frames = tmp_path / "takes" / "a"
    frames.mkdir(parents=True)
    (frames.parent / "1.png").write_bytes(images.encode(gradient(), "png"))
    monkeypatch.chdir(tmp_path / inside)
    assert i2z("data", "check", given, "--picture", tmp_path / "sheet.png") == 1
    assert "  takes: frames 1" in capsys.readouterr().out


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", "{}".encode("utf-16")])
def test_a_damaged_description_of_a_built_dataset(tmp_path, text):
    path = tmp_path / "ibug_300w" / "dataset.json"
    path.parent.mkdir()
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"dataset\.json: (damaged|not a text file)"):
        check(tmp_path)


def test_a_built_dataset_is_known_in_a_folder_of_another_name(tmp_path):
    renamed = tmp_path / "mine"
    (multiview(tmp_path) / "multiview_capture").rename(renamed)
    report = check(renamed)
    assert report.facts["multiview_capture/views/train"] == 24
    assert report.usable(strict=True)
    assert len(Views(renamed, "train")) == 24
    (renamed / "dataset.json").write_text("{}")
    with pytest.raises(InputError, match="no layout that is known"):
        check(renamed)


def test_what_is_not_built_says_how_to(tmp_path):
    taken, empty = tmp_path / "cap B", tmp_path / "new"
    for folder in (taken, empty):
        folder.mkdir()
    (taken / "KRT").touch()
    build = "i2z data build multiview_capture --source"
    for folder, says in (
        (taken, f"a capture that is not built yet; {build} '{taken}' --out data"),
        (empty, f"no built multiview_capture here; {build} DIR --out {empty}"),
        (tmp_path / "gone", "no such folder"),
        (taken / "KRT", "is a file"),
    ):
        with pytest.raises(InputError, match=f"{folder}: {says}"):
            records.folder(folder, records.MULTIVIEW)


def test_a_dataset_with_the_fields_of_another_version(tmp_path):
    path = tmp_path / "multiview_capture" / "dataset.json"
    path.parent.mkdir()
    path.write_text('{"version": "1.0.0", "splits": {}, "gaps": []}')
    with pytest.raises(InputError, match=r"expected 3\.0\.0.*got 1\.0\.0.*--overwrite"):
        check(tmp_path)


def test_contact_sheet_of_pictures_of_any_shape(tmp_path, rng):
    shapes = [(40, 700), (700, 40), (320, 320), (1, 1), (2000, 1300)]
    cells = [(f"{h}x{w}", np.full((h, w, 3), 128, np.uint8)) for h, w in shapes]
    contact_sheet(cells, tmp_path / "sheet.png")
    sheet = images.read_picture(tmp_path / "sheet.png")
    assert sheet.shape == (680, 1280, 3)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data folder")
def test_real_landmarks():
    report = check(SHARED / "pts")
    assert report.usable(strict=True)
    assert report.facts["usable"] == 2
    assert len(report.cells) == 2


def test_text_and_a_picture_are_no_video_though_ffmpeg_shows_them(tmp_path):
    (tmp_path / "notes.txt").write_text("hello\n" * 100)
    cv2.imwrite(str(tmp_path / "face.png"), np.zeros((64, 64, 3), np.uint8))
    for name in ("notes.txt", "face.png"):
        with pytest.raises(InputError, match="no layout that is known"):
            check(tmp_path / name)
