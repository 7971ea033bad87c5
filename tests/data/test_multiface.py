# SPDX-License-Identifier: Apache-2.0
"""The layout's reader on files written by hand, damaged ones, and a real stage.

That synthetic captures follow Multiface's conventions is held by a reader of its own
in `tests/synth/test_capture.py`.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2z_jax.data import multiface as mf
from i2z_jax.data.krt import read_krt, write_krt
from i2z_jax.errors import InputError
from i2z_jax.geometry.rotation import matrix_from_euler
from tests.data.captures import CAMERAS, FRAMES, SEGMENTS, TEXTURE, write_capture

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("I2Z_SHARED_DATA", ROOT / "../shared/data"))

# A camera of another make: tabs, exponents, blank lines around it.
KRT = """

front
7.7e3 0.0 667.0
0.0\t7.7e3 1024.0
0 0 1
0 0 0 0 0
1 0 0 10
0 1 0 -20.5
0 0 1 1000


"""


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    return write_capture(tmp_path_factory.mktemp("multiface") / "capture")


def test_krt_by_hand(tmp_path):
    (tmp_path / "KRT").write_text(KRT)
    (camera,) = read_krt(tmp_path / "KRT").values()
    assert camera.intrinsics.tolist() == [[7700, 0, 667], [0, 7700, 1024], [0, 0, 1]]
    assert camera.camera_from_world[:, 3].tolist() == [10, -20.5, 1000]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("0 0 1\n", "", "camera front is incomplete"),
        ("0 0 0 0 0\n", "0 0 0\n", "camera front is incomplete"),
        ("1 0 0 10", "1 0 0 x", "camera front: could not convert"),
        ("1 0 0 10", "nan 0 0 10", "camera front is not calibrated"),
        ("1 0 0 10", "2 0 0 10", "camera front is not calibrated"),
        ("1 0 0 10", "-1 0 0 10", "camera front is not calibrated"),
        ("1 0 0 10", "1 0 0 1e300", "camera front is not calibrated"),
        ("0 0 1\n", "0 0 0\n", "camera front is not calibrated"),
        ("front\n", "front left\n", "name is one word .*got front left"),
        (KRT, KRT + KRT, "camera front is there twice"),
        (KRT, "\n", "no cameras"),
    ],
)
def test_damaged_krt_names_the_camera(tmp_path, old, new, says):
    path = tmp_path / "KRT"
    assert old in KRT
    path.write_text(KRT.replace(old, new, 1))
    with pytest.raises(InputError, match=says) as error:
        read_krt(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["KRT", "frame_list.txt", "tex_var.txt"])
def test_a_file_in_another_encoding_is_named(tmp_path, name):
    path = write_capture(tmp_path / "c") / name
    path.write_text(path.read_text(), encoding="utf-16")
    with pytest.raises(InputError, match=f"{name}: not a text file .*UTF-8"):
        _ = mf.Capture(tmp_path / "c").statistics


@pytest.mark.parametrize("line", ["E001", "../../etc 000000", ".. 0", "E001 abc"])
def test_a_frame_is_a_folder_of_the_capture_and_a_number(tmp_path, line):
    root = write_capture(tmp_path / "c")
    (root / "frame_list.txt").write_text(f"E001 000010\n\t{line}\r\n")
    with pytest.raises(InputError, match="line 2 is no frame"):
        mf.Capture(root)


def test_krt_round_trip_is_exact(tmp_path, rng):
    write_krt(tmp_path / "KRT", CAMERAS)
    again = read_krt(tmp_path / "KRT")
    assert list(again) == list(CAMERAS)
    for name, camera in CAMERAS.items():
        for wrote, read in zip(camera, again[name], strict=True):
            np.testing.assert_array_equal(wrote, read)


def test_capture_lists_what_it_has(capture):
    opened = mf.Capture(capture)
    assert opened.segments == list(SEGMENTS)
    assert opened.frames[0] == mf.Frame(SEGMENTS[0], FRAMES[0])
    assert list(opened.cameras) == list(CAMERAS)
    assert opened.vertex_count == 300
    assert opened.vertices(SEGMENTS[1], FRAMES[2]).shape == (300, 3)
    assert opened.world_from_head(SEGMENTS[1], FRAMES[2]).shape == (3, 4)
    assert opened.paths.image(opened.frames[0], "400001").is_file()
    assert opened.paths.texture(opened.frames[0]).parent.name == "average"


def test_textures_are_flipped_on_the_way_in_and_out(capture):
    opened = mf.Capture(capture)
    path = opened.paths.texture(opened.frames[0])
    stored = np.asarray(Image.open(path))
    np.testing.assert_array_equal(mf.read_texture(path), stored[::-1])
    stored = np.asarray(Image.open(capture / "tex_mean.png"))
    mean = opened.statistics.texture_mean
    np.testing.assert_array_equal(mean, stored[::-1])
    assert mean.shape == (TEXTURE, TEXTURE, 3)
    assert opened.statistics.texture_variance == 400.0


def test_gaps_are_named_when_they_are_met(capture):
    opened = mf.Capture(capture)
    with pytest.raises(InputError, match=r"999999\.bin: cannot read"):
        opened.vertices(SEGMENTS[0], "999999")
    with pytest.raises(InputError, match=r"999999_transform\.txt: cannot read"):
        opened.world_from_head(SEGMENTS[0], "999999")


def test_a_capture_without_its_frame_list_is_not_finished(tmp_path):
    with pytest.raises(InputError, match="not a finished capture"):
        mf.Capture(tmp_path)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (np.zeros(7, "f4"), "expected 9 float32, got 7"),
        (np.zeros(12, "f4"), "expected 9 float32, got 12"),
        (np.zeros(0, "f4"), "got 0 float32"),
        (np.array([0, np.nan] + [0] * 7, "f4"), "1 NaN or infinite"),
    ],
    ids=["torn", "another topology", "empty", "nan"],
)
def test_bad_vertices(tmp_path, write, says):
    write.tofile(tmp_path / "a.bin")
    with pytest.raises(InputError, match=says):
        mf.read_vertices(tmp_path / "a.bin", count=3)


def test_vertices_of_any_count(tmp_path, rng):
    path = tmp_path / "a.bin"
    for count in (1, 4):
        wrote = rng.normal(size=(count, 3)).astype(np.float32)
        mf.write_vertices(path, wrote)
        np.testing.assert_array_equal(mf.read_vertices(path), wrote)
    for torn in (0, 7):
        np.zeros(torn, "f4").tofile(path)
        with pytest.raises(InputError, match=f"float32 triples, got {torn} float32"):
            mf.read_vertices(path)


@pytest.mark.parametrize(
    "text",
    [
        "1 0 0 0\n0 1 0 0\n",
        "1 0 0\n0 1 0\n0 0 1\n",
        "a b c d\n",
        "",
        "nan " * 4,
        "2 0 0 0\n0 2 0 0\n0 0 2 0\n",
        "1 0 0 0\n0 1 0 0\n0 0 -1 0\n",
    ],
)
def test_bad_transforms(tmp_path, text):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(InputError, match="not a "):
        mf.read_transform(tmp_path / "t.txt")


def test_transform_round_trip_is_exact(tmp_path, rng):
    turn = matrix_from_euler(rng.uniform(-1, 1, 3))
    matrix = np.column_stack([turn, rng.normal(size=3)])
    mf.write_transform(tmp_path / "t.txt", matrix)
    np.testing.assert_array_equal(mf.read_transform(tmp_path / "t.txt"), matrix)


@pytest.mark.parametrize("name", ["tex_var.txt", "vert_var.txt"])
@pytest.mark.parametrize("text", ["", "1 2", "-1", "nan", "x"])
def test_bad_variances(tmp_path, name, text):
    write_capture(tmp_path / "c")
    (tmp_path / "c" / name).write_text(text)
    with pytest.raises(InputError, match=name):
        _ = mf.Capture(tmp_path / "c").statistics


def test_a_texture_that_is_not_square(tmp_path):
    Image.new("RGB", (32, 16)).save(tmp_path / "t.png")
    with pytest.raises(InputError, match=r"a texture is square .*32 x 16"):
        mf.read_texture(tmp_path / "t.png")


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write here"):
        mf.write_vertices(tmp_path / "file" / "a.bin", np.zeros((3, 3), np.float32))


@pytest.mark.skipif(
    not (SHARED / "multiface_frame").is_dir(), reason="needs the shared real frame"
)
def test_a_real_stage():
    cameras = read_krt(SHARED / "multiface_frame/KRT")
    assert len(cameras) == 38
    assert list(cameras)[:2] == ["400069", "400002"]
    vertices = mf.read_vertices(SHARED / "multiface_frame/021924.bin", count=7306)
    assert np.ptp(vertices, axis=0).min() > 150
