# SPDX-License-Identifier: Apache-2.0
"""Which face is followed: the largest, the next one, the one that comes back."""

import cv2
import numpy as np
import pytest

from i2z_jax.data import row_files
from i2z_jax.data.box_track import choose, track
from i2z_jax.data.continuity import Continuity
from i2z_jax.data.row_files import RowFiles
from i2z_jax.data.video import frame_count, read_frames
from i2z_jax.data.video_analysis import scan
from i2z_jax.errors import InputError
from i2z_jax.stopwatch import Stopwatch
from tests.data.clips import write_clip
from tests.track import worlds


def box(x, y, side, score=5.0):
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2, score]


def boxes(*faces):
    return np.array(faces, float).reshape(-1, 5)


def middles(chosen):
    return (chosen[:, :2] + chosen[:, 2:]) / 2


def test_two_faces_that_cross_keep_their_numbers():
    """The large one goes right, the small one left; they pass at the same height."""
    frames = 80
    large = np.linspace(60, 340, frames)
    small = np.linspace(340, 60, frames)
    seen = []
    for a, b in zip(large, small, strict=True):
        faces = [box(a, 150, 100), box(b, 170, 60)]
        # The nearer face hides the other one while they pass.
        seen.append(boxes(*faces[: 1 if abs(a - b) < 50 else 2]))
    starts = np.zeros(frames, bool)
    first, found = choose(seen, starts, 1)
    assert found.all()
    np.testing.assert_allclose(middles(first)[:, 0], large, atol=4)
    second, found = choose(seen, starts, 2)
    there = np.isfinite(second[:, 0])
    assert there.sum() > 0.9 * frames
    np.testing.assert_allclose(middles(second)[there, 0], small[there], atol=8)
    assert (second[there, 2] - second[there, 0]).max() < 80
    third, _ = choose(seen, starts, 3)
    assert np.isnan(third).all()


def test_a_face_that_comes_back_is_found_again():
    frames = 300
    seen = [
        boxes(box(200, 150, 100)) if not 80 <= i < 220 else boxes()
        for i in range(frames)
    ]
    # A lamp, once.
    seen[150] = boxes(box(20, 20, 40))
    chosen, found = choose(seen, np.zeros(frames, bool))
    assert np.isfinite(chosen[:80]).all()
    assert np.isfinite(chosen[220:]).all()
    assert found[220:].all()
    # Not bridged in the middle of the absence, and the lamp is no face.
    assert np.isnan(chosen[140:170]).all()


def test_a_face_that_was_not_away_for_long_has_the_boxes_of_one_track(rng):
    """Bit for bit, at the ends too, where it was missed."""
    seen = [boxes(box(*rng.normal((200, 150), 2), 100)) for _ in range(90)]
    for missed in (range(6), range(30, 60), range(84, 90)):
        for i in missed:
            seen[i] = boxes()
    starts = np.zeros(90, bool)
    for ours, plain in zip(choose(seen, starts), track(seen, starts), strict=True):
        np.testing.assert_array_equal(ours, plain)


def scanned(video, work, detect=worlds.detect_disc, **options):
    frames, total = read_frames(video), frame_count(video)
    kept = RowFiles(work, "faces")
    return scan(video, frames, detect, total=total, kept=kept, **options)


def test_a_clip_is_scanned_with_its_times_and_size(tmp_path):
    pictures = [worlds.picture(60 + i, 60) for i in range(8)]
    video = write_clip(tmp_path / "clip.mp4", pictures)
    clock = Stopwatch()
    result = scanned(video, tmp_path / "work", clock=clock)
    np.testing.assert_allclose(result.time_s, np.arange(8) * 0.04, atol=1e-3)
    assert result.size.tolist() == [160, 120]
    assert result.found.all()
    np.testing.assert_allclose(
        middles(result.box), [[60 + i, 60] for i in range(8)], atol=3
    )
    assert clock.frames == {"detect": 8}


def test_frames_that_cannot_be_read_are_counted_and_the_first_explained(
    tmp_path, capsys
):
    for i in range(5):
        cv2.imwrite(str(tmp_path / f"{i}.png"), worlds.picture(60 + i, 60)[..., ::-1])
    (tmp_path / "2.png").write_bytes(b"not a picture")
    cv2.imwrite(str(tmp_path / "4.png"), worlds.picture(60, 60, size=(80, 60)))
    found = scanned(tmp_path, tmp_path / "work")
    assert found.readable.tolist() == [True, True, False, True, False]
    said = capsys.readouterr().err
    assert "2 of 5 frames could not be read; the first:" in said
    assert "2.png: damaged or not a picture" in said


@pytest.mark.parametrize("where", ["in the detector", "between frames"])
def test_an_interrupted_scan_goes_on_as_in_one_go(tmp_path, monkeypatch, where):
    """Twice; among repeats, a cut, and frames with no face and with two."""
    pictures = [
        worlds.picture(50 + i // 2 * 3, 60, 0 if i in {5, 6, 31} else 26)
        for i in range(40)
    ]
    pictures[22:] = [110 + picture // 2 for picture in pictures[22:]]
    video, work = write_clip(tmp_path / "clip.mp4", pictures), tmp_path / "work"
    looks, stops, step = [], {}, Continuity.step

    def detect(image):
        looks.append(image)
        if len(looks) == stops.get("in the detector"):
            raise KeyboardInterrupt
        seen = worlds.detect_disc(image)
        return np.concatenate([seen, seen + 9]) if seen[:, 0].sum() > 50 else seen

    def stopping(self, frame):
        if frame.number == stops.get("between frames"):
            raise KeyboardInterrupt
        return step(self, frame)

    monkeypatch.setattr(Continuity, "step", stopping)
    whole = scanned(video, tmp_path / "whole", detect)
    assert whole.cut.sum() == 2
    assert whole.duplicate.any()
    monkeypatch.setattr(row_files, "CHUNK", 6)
    for number in (14, 20):
        looks.clear()
        stops[where] = number
        with pytest.raises(KeyboardInterrupt):
            scanned(video, work, detect)
    kept = RowFiles(work, "faces").read()["faces"]
    assert len(kept) >= 20
    assert set(kept) == {0, 1, 2}
    # Of a run that is killed, these are left.
    with np.load(work / "faces-00000.npz") as first:
        assert len(first["faces"]) == 6
    # A power cut leaves an empty file: it is looked at again from there.
    kept = kept[: 6 * 2]
    (work / "faces-00002.npz").write_bytes(b"")
    looks.clear()
    stops.clear()
    assert_same = np.testing.assert_array_equal
    result = scanned(video, work, detect)
    for name in whole._fields:
        assert_same(getattr(result, name), getattr(whole, name), err_msg=name)
    assert len(looks) == 40 - len(kept)


@pytest.mark.parametrize("face", [1, 2], ids=["no face", "no second face"])
def test_nobody_there_is_one_clear_line(tmp_path, face):
    there = face == 2
    pictures = [worlds.picture(60, 60, 26 if there else 0) for _ in range(4)]
    video = write_clip(tmp_path / "clip.mp4", pictures)
    with pytest.raises(InputError, match="no face") as error:
        scanned(video, tmp_path / "work", face=face)
    assert "\n" not in str(error.value)
    assert "--boxes" in str(error.value)
