# SPDX-License-Identifier: Apache-2.0
"""Built datasets as examples: joined by frame, paired in time, whole batches."""

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from i2z_jax.data import images
from i2z_jax.data.augment import augment_regression
from i2z_jax.data.batches import Stream, endless, one_pass
from i2z_jax.data.pipeline import (
    InTurn,
    VideoFrames,
    ViewLandmarks,
    Views,
    pair_starts,
)
from i2z_jax.data.records import folder, open_frames, open_split
from i2z_jax.errors import InputError
from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.topology import load, save
from tests.data import tiny_datasets as tiny
from tests.memory import most_memory
from tests.processes import finish, start


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return tiny.multiview(tmp_path_factory.mktemp("capture"))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    out = tmp_path_factory.mktemp("video")
    return VideoFrames(tiny.video(out, cut=[0, 5], duplicate=[3, 8], frames=12))


def test_a_view_brings_what_belongs_to_its_frame(capture):
    frames, averages = open_frames(capture), open_frames(capture, "frame_textures")
    textures = open_split(capture, "multiview_capture", "train", config="view_textures")
    z = np.arange(len(frames), dtype=np.float32)[:, None] * np.ones(4, np.float32)
    fields = ("image", "vertices", "texture", "average_texture")
    # Two cached frames, so that some are dropped and read again.
    views = Views(capture, "train", fields=fields, tables={"z": z}, cached_frames=2)
    assert len(views) == len(frames) * tiny.CAMERAS
    for index in (0, 5, 23, 1, 14, 5):
        frame, camera = divmod(index, tiny.CAMERAS)
        example = views[index]
        assert example["index"] == index
        assert example["frame_index"] == frame
        assert example["camera"] == camera
        np.testing.assert_array_equal(example["z"], z[frame])
        np.testing.assert_array_equal(example["vertices"], frames[frame]["vertices"])
        stored = views.record(index)
        np.testing.assert_array_equal(example["image"], images.decode(stored["image"]))
        for field, bytes_ in (
            ("texture", textures[index]["texture"]),
            ("average_texture", averages[frame]["texture"]),
        ):
            # Row 0 is v = 0, which files have at the bottom.
            np.testing.assert_array_equal(example[field], images.decode(bytes_)[::-1])
        assert stored["segment"].decode() == f"SEG{frame % 2}"


def test_fields_not_asked_for_are_absent(capture):
    example = Views(capture, "train", fields=("vertices",))[0]
    assert "image" not in example
    assert "texture" not in example


def test_who_wants_no_textures_reads_none(tmp_path):
    out = tiny.multiview(tmp_path)
    for config in ("view_textures", "frame_textures"):
        shutil.rmtree(out / "multiview_capture" / config)
    view = Views(out, "train")[5]
    assert {"image", "vertices"} <= view.keys()


def test_tables_must_fit(capture):
    with pytest.raises(InputError, match=r"expected 6 rows, got 5"):
        Views(capture, "train", tables={"z": np.zeros((5, 4))})


def test_landmarks_of_views_are_where_the_calibrated_cameras_see_them(toy_data):
    """KRT, head transform and crop as 4x4 matrices; the labels' H says so roughly."""
    source = folder(toy_data, "multiview_capture") / "sources" / "0"
    cameras = json.loads((source / "cameras.json").read_text())
    topology, views = load(source / "topology.npz"), Views(toy_data, "train")
    marked, frames = ViewLandmarks(toy_data, "train"), open_frames(toy_data)
    assert len(marked) == len(views) > 2
    for index in (0, 1, len(views) - 1):
        record, example = views.record(index), marked[index]
        frame = frames[int(record["frame_index"])]
        corners = frame["vertices"][topology.faces[topology.landmark_faces]]
        head = np.einsum("lc,lcd->ld", topology.landmark_barycentric, corners)
        point = np.c_[head, np.ones(68)].T
        camera = cameras[int(record["camera"])]
        for rigid in (frame["world_from_head"], camera["camera_from_world"]):
            point = np.vstack([rigid, [0, 0, 0, 1]]) @ point
        pixel = np.float64(camera["intrinsics"]) @ point[:3]
        truth = (np.float64(record["crop_from_image"]) @ (pixel / pixel[2])).T
        np.testing.assert_allclose(example["landmarks"], truth, atol=1e-2)
        size = example["image"].shape[0]
        pose, posed = views[index]["pose"], np.float32(head)
        roughly = (project_weak(pose, posed)[:, :2] + 1) * (size / 2)
        assert np.abs(example["landmarks"] - roughly).max() < 0.04 * size
        np.testing.assert_array_equal(example["image"], views[index]["image"])


def test_a_mesh_without_landmarks_labels_no_pictures(toy_data, tmp_path):
    shutil.copytree(toy_data / "multiview_capture", tmp_path / "multiview_capture")
    path = folder(tmp_path, "multiview_capture") / "sources" / "0" / "topology.npz"
    bare = replace(load(path), landmark_faces=None, landmark_barycentric=None)
    save(path, bare, overwrite=True)
    with pytest.raises(InputError, match="no landmark map"):
        ViewLandmarks(tmp_path, "train")
    path.unlink()
    with pytest.raises(InputError, match="no topology"):
        ViewLandmarks(tmp_path, "train")


def test_sources_in_turn_are_seen_equally_often():
    one, other = (
        [{"x": f"{name}{k}"} for k in range(n)] for name, n in (("a", 2), ("b", 5))
    )
    both = InTurn(one, other)
    seen = [both[k]["x"] for k in range(len(both))]
    assert seen[::2] == [f"a{k % 2}" for k in range(5)]
    assert seen[1::2] == [f"b{k}" for k in range(5)]


def test_regression_batches(capture):
    views = Views(capture, "train")
    stream = Stream(views, 8, partial(augment_regression, size=48))
    with endless(stream, seed=0, workers=2) as batches:
        ours = [next(batches) for _ in range(4)]
    batches = endless(stream, seed=0)
    theirs = [next(batches) for _ in range(4)]
    for a, b in zip(ours, theirs, strict=True):
        assert a["image"].dtype == np.uint8
        assert a["image"].shape == (8, 48, 48, 3)
        assert a["pose"].dtype == a["vertices"].dtype == np.float32
        assert a["vertices"].shape == (8, tiny.VERTICES, 3)
        for field in b:
            assert type(a[field]) is np.ndarray
            np.testing.assert_array_equal(a[field], b[field])
    epoch = np.concatenate([batch["index"] for batch in ours[:3]])
    np.testing.assert_array_equal(np.sort(epoch), np.arange(24))


def test_pairs_never_cross_a_cut_or_hold_a_repetition(video):
    # Cuts in front of 0 and 5, repetitions at 3 and 8.
    assert pair_starts(video).tolist() == [0, 1, 3, 5, 6, 8, 9, 10]


def test_pairs_are_found_without_holding_the_pictures():
    class Long(VideoFrames):
        """400 frames of a megapixel, each twice: half of the container's rate."""

        def __init__(self):
            pass

        def __len__(self):
            return 400

        def record(self, index):
            repeated = index % 2 == 1
            return {"image": bytes(10**6), "cut": index == 0, "duplicate": repeated}

    with most_memory() as most:
        assert pair_starts(Long()).tolist() == list(range(1, 399, 2))
        assert most() < 10 * 10**6


def test_lab_and_wild_in_one_batch(capture, video):
    streams = {
        "lab": Stream(Views(capture, "train"), 2),
        "wild": Stream(video, 3),
    }
    batch = next(endless(streams, seed=0))
    assert batch["lab"]["image"].shape == (2, tiny.SIDE, tiny.SIDE, 3)
    assert batch["wild"]["image"].shape == (3, tiny.SIDE, tiny.SIDE, 3)


def test_numbers_have_types_that_devices_have(capture, video):
    view = Views(capture, "train")[3]
    whole = {n: view[n].dtype for n in ("camera", "source", "frame_index", "index")}
    assert set(whole.values()) == {np.dtype(np.int32)}
    assert view["pose"].dtype == view["view"].dtype == np.float32
    assert video[4]["frame"].dtype == np.int32


def test_a_video_brings_its_truth(tmp_path):
    out = tiny.video(tmp_path, cut=[0], duplicate=[], frames=3)
    example = VideoFrames(out, truth=True)[1]
    assert example["has_truth"].dtype == bool
    assert example["vertices"].shape == (0, 3)
    assert example["landmarks"].shape == (68, 2)


def test_a_video_in_order(video):
    grey = [b["image"][b["valid"], 0, 0, 0] for b in one_pass(Stream(video, 5))]
    np.testing.assert_array_equal(np.concatenate(grey), np.arange(12))


def test_no_tensorflow_is_loaded(capture):
    code = f"""
import sys
from i2z_jax.data.batches import Stream, endless
from i2z_jax.data.pipeline import Views
next(endless(Stream(Views({str(capture)!r}, "train"), 2), seed=0))
loaded = [m for m in sys.modules if m.split(".")[0] in ("tensorflow", "torch")]
assert not loaded, loaded
"""
    finish(start("-c", code))
