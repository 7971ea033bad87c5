# SPDX-License-Identifier: Apache-2.0
"""`i2z adapt` learns from the video it was given, whatever is built already."""

import os

import numpy as np
import pytest

from i2z_jax.data import images, records
from i2z_jax.errors import InputError
from i2z_jax.train.adapt_video import built_video
from tests.data.clips import gradient

SIZE = 32


def clip(folder, frames: int):
    folder.mkdir()
    for number in range(frames):
        data = images.encode(gradient(shift=3 * number), "png")
        (folder / f"{number}.png").write_bytes(data)
    return folder


def boxes(path, left: float):
    np.savez(path, boxes=np.tile([left, 10.0, left + 40, 50.0], (8, 1)))
    return path


@pytest.fixture
def start(tmp_path):
    """What a start of the command has built: its records, and when."""
    workdir = tmp_path / "run"

    def start(video, boxes, size=SIZE):
        place = built_video(video, workdir, boxes=boxes, crop_size=size)
        found = records.open_split(place, records.VIDEO, "train")
        when = (place / records.VIDEO / "dataset.json").stat().st_mtime_ns
        return [found[i] for i in range(len(found))], when

    return start


def test_another_video_is_built_anew(start, tmp_path):
    seen = boxes(tmp_path / "b.npz", 20)
    ours, when = start(clip(tmp_path / "ours", 4), seen)
    assert start(tmp_path / "ours", seen)[1] == when
    theirs, _ = start(clip(tmp_path / "theirs", 3), seen)
    assert {row["video"] for row in ours} == {b"ours"}
    assert [row["video"] for row in theirs] == [b"theirs"] * 3


def test_other_boxes_crops_or_frames_are_built_anew(start, tmp_path):
    seen = boxes(tmp_path / "b.npz", 20)
    video = clip(tmp_path / "clip", 3)
    first, _ = start(video, seen)
    elsewhere, _ = start(video, boxes(tmp_path / "other.npz", 30))
    assert elsewhere[0]["box"][0] == first[0]["box"][0] + 10
    edited, _ = start(video, boxes(seen, 40))
    assert edited[0]["box"][0] == first[0]["box"][0] + 20
    larger, _ = start(video, seen, 2 * SIZE)
    assert images.decode(larger[0]["image"]).shape[0] == 2 * SIZE
    (video / "2.png").unlink()
    assert len(start(video, seen)[0]) == 2


def test_a_run_does_not_go_on_with_an_edited_video(start, tmp_path):
    seen = boxes(tmp_path / "b.npz", 20)
    video = clip(tmp_path / "clip", 3)
    _, when = start(video, seen)
    (tmp_path / "run" / "checkpoints" / "100").mkdir(parents=True)
    assert start(video, seen)[1] == when
    os.utime(video / "1.png", ns=(0, 0))
    with pytest.raises(InputError, match="not what this run began with"):
        start(video, seen)


def test_a_built_video_has_its_boxes(start, tmp_path):
    seen = boxes(tmp_path / "b.npz", 20)
    start(clip(tmp_path / "clip", 3), seen)
    built = tmp_path / "run" / "video"
    assert len(start(built, None)[0]) == 3
    with pytest.raises(InputError, match="--boxes: the video is built already"):
        start(built, seen)
