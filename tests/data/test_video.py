# SPDX-License-Identifier: Apache-2.0
"""Videos as users have them: turned, uneven in time, repeating, cut, damaged."""

import re
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from i2z_jax.data import images
from i2z_jax.data.continuity import Continuity
from i2z_jax.data.video import frame_count, passed_over, read_frames, videos
from i2z_jax.errors import InputError
from tests.data.clips import (
    gradient,
    set_display,
    turn_clockwise,
    write_clip,
    write_photo,
)


def test_frames_come_in_order_and_nearly_as_they_went_in(tmp_path):
    frames = [gradient(shift=3 * i) for i in range(12)]
    path = write_clip(tmp_path / "clip.mp4", frames)
    assert frame_count(path) == 12
    read = list(read_frames(path))
    assert [f.number for f in read] == list(range(12))
    for frame, original in zip(read, frames, strict=True):
        assert np.abs(frame.image.astype(int) - original).mean() < 3


def test_rotation_metadata_is_applied(tmp_path):
    path = write_clip(tmp_path / "phone.mp4", [gradient()] * 3)
    turn_clockwise(path)
    image = next(read_frames(path)).image
    # Clockwise: what was the left edge is on top, what was the top is on the right.
    expected = np.rot90(gradient(), -1)
    assert image.shape == expected.shape == (96, 64, 3)
    assert np.abs(image.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("mirrored", [1, -1], ids=["turned", "mirrored"])
@pytest.mark.parametrize("turn", range(4))
def test_a_display_matrix_is_applied_to_every_pixel(tmp_path, turn, mirrored):
    a, b = ((1, 0), (0, 1), (-1, 0), (0, -1))[turn]
    c, d = -b * mirrored, a * mirrored
    path = write_clip(tmp_path / "clip.mp4", [gradient()] * 2)
    set_display(path, a=a, b=b, c=c, d=d)
    y, x = (place.reshape(-1) for place in np.indices((64, 96)))
    column, row = a * x + c * y, b * x + d * y
    column, row = column - column.min(), row - row.min()
    expected = np.zeros((row.max() + 1, column.max() + 1, 3))
    expected[row, column] = gradient()[y, x]
    image = next(read_frames(path)).image
    assert image.shape == expected.shape
    assert np.abs(image - expected).mean() < 3


def test_joined_recordings_go_on_in_time_and_are_cut(tmp_path):
    """Two MPEG streams one after the other, the clock of each from 0."""
    image = gradient()
    parts = [
        write_clip(tmp_path / f"{part}.ts", [image] * 20).read_bytes()
        for part in range(2)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    read = list(read_frames(joined))
    assert len(read) == 40
    steps = np.diff([frame.time_s for frame in read])
    np.testing.assert_allclose(np.delete(steps, 19), 0.04, atol=1e-3)
    assert 0 < steps[19] < 0.1
    assert [i for i, (_, cut) in enumerate(flags(read)) if cut] == [0, 20]


@pytest.mark.parametrize("wide", [Fraction(4, 3), Fraction(8, 9)], ids=str)
@pytest.mark.parametrize("turned", [False, True], ids=["as stored", "turned"])
def test_pixels_that_are_not_square_are_as_on_a_display(tmp_path, wide, turned):
    path = write_clip(tmp_path / "dv.mp4", [gradient()] * 2, pixel_aspect=wide)
    if turned:
        turn_clockwise(path)
    image = next(read_frames(path)).image
    expected = cv2.resize(gradient(), (round(96 * wide), 64))
    if turned:
        expected = np.rot90(expected, -1)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 3


def test_a_variable_frame_rate_keeps_its_times(tmp_path):
    times = [0, 33, 66, 150, 180, 400, 433]
    path = write_clip(
        tmp_path / "vfr.mp4", [gradient(shift=i) for i in range(7)], times_ms=times
    )
    read = [frame.time_s for frame in read_frames(path)]
    np.testing.assert_allclose(read, np.array(times) / 1000, atol=1e-3)


def test_gif_is_a_video(tmp_path):
    frames = [gradient(shift=10 * i) for i in range(4)]
    path = write_clip(tmp_path / "clip.gif", frames, codec="gif")
    read = list(read_frames(path))
    assert len(read) == 4
    # 8-bit palette: two or three bits a channel.
    assert np.abs(read[0].image.astype(int) - frames[0]).mean() < 40


def flags(frames):
    continuity = Continuity()
    return [continuity.step(frame) for frame in frames]


def test_repeats_cuts_and_gaps(tmp_path):
    moving = [gradient(shift=4 * i) for i in range(10)]
    other = [255 - image for image in moving]
    frames = [*moving[:6], moving[5], *moving[6:], *other]
    times = [40 * i + (1000 if i > 3 else 0) for i in range(len(frames))]
    path = write_clip(tmp_path / "edited.mp4", frames, times_ms=times)
    found = flags(read_frames(path))
    assert [i for i, (repeat, _) in enumerate(found) if repeat] == [6]
    # The start, the pause after frame 3, and the cut to the negative.
    assert [i for i, (_, cut) in enumerate(found) if cut] == [0, 4, 11]


@pytest.mark.parametrize(
    "name", ["shot_{}", "{}_cam0", "take2_{}_400002"], ids=["last", "first", "middle"]
)
def test_folder_of_frames_is_ordered_by_number(tmp_path, name):
    for number in (8, 9, 10, 11, 15, 16):
        image = gradient(shift=2 * number)
        path = tmp_path / f"{name.format(number)}.png"
        path.write_bytes(images.encode(image, "png"))
    read = list(read_frames(tmp_path))
    for frame, number in zip(read, (8, 9, 10, 11, 15, 16), strict=True):
        np.testing.assert_array_equal(frame.image, gradient(shift=2 * number))
        assert frame.time_s == pytest.approx((number - 8) / 30)
    assert [cut for _, cut in flags(read)] == [True, False, False, False, True, False]


def test_names_without_a_number_of_their_own_are_frames_in_turn(tmp_path):
    for name in ("b_0.png", "a_0.png", "c_0.png"):
        (tmp_path / name).write_bytes(
            images.encode(gradient(shift=ord(name[0])), "png")
        )
    read = list(read_frames(tmp_path))
    for frame, letter in zip(read, "abc", strict=True):
        np.testing.assert_array_equal(frame.image, gradient(shift=ord(letter)))
    np.testing.assert_allclose([f.time_s for f in read], np.arange(3) / 30)


@pytest.mark.parametrize(
    "names",
    [
        ("1305031102.975304", "1305031103.011215", "1305031103.043227"),
        ("rec_12-00-58", "rec_12-00-59", "rec_12-01-00"),
        ("take9_10", "take10_2", "take10_11"),
        ("shot_1", "shot_1 (2)", "shot_2", "shot_2 (10)"),
        ("a3f9_0001", "7bc_0002", "c01d22_0010"),
        ("neutral", "smile", "smile2"),
    ],
    ids=["fraction", "clock", "takes", "copies", "hash", "words"],
)
def test_names_of_several_numbers_are_read_from_the_left(tmp_path, names):
    for place, name in enumerate(names):
        # Not by `with_suffix`: the fraction is no suffix.
        path = tmp_path / f"{name}.png"
        path.write_bytes(images.encode(gradient(shift=9 * place), "png"))
    read = list(read_frames(tmp_path))
    for place, frame in enumerate(read):
        np.testing.assert_array_equal(frame.image, gradient(shift=9 * place))
    np.testing.assert_allclose([f.time_s for f in read], np.arange(len(names)) / 30)


def test_a_picture_without_a_number_is_no_frame_among_some_with_one(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(3):
        path = frames / f"{number}.png"
        path.write_bytes(images.encode(gradient(shift=9 * number), "png"))
    assert passed_over(frames) == ""
    for name in ("check.png", "cover.png"):
        (frames / name).write_bytes(images.encode(gradient(48, 48), "png"))
    read = list(read_frames(frames))
    assert frame_count(frames) == 3
    for number, frame in enumerate(read):
        np.testing.assert_array_equal(frame.image, gradient(shift=9 * number))
    np.testing.assert_allclose([f.time_s for f in read], np.arange(3) / 30)
    assert passed_over(frames) == "pictures without a number (2: check.png ...)"
    # Also in a folder of folders, and beside files.
    assert "(2: frames/check.png ...)" in passed_over(tmp_path)
    write_clip(tmp_path / "a.mp4", [gradient()] * 2)
    (tmp_path / "a.jpg").write_bytes(images.encode(gradient(), "jpeg"))
    assert passed_over(tmp_path) == (
        "pictures beside videos (1: a.jpg ...) and "
        "pictures without a number (2: frames/check.png ...)"
    )


def test_names_without_any_number_are_frames_by_name(tmp_path):
    for name in ("b.png", "a.png", "c.png"):
        image = gradient(shift=9 * ord(name[0]))
        (tmp_path / name).write_bytes(images.encode(image, "png"))
    assert passed_over(tmp_path) == ""
    for frame, letter in zip(read_frames(tmp_path), "abc", strict=True):
        np.testing.assert_array_equal(frame.image, gradient(shift=9 * ord(letter)))


def test_photos_of_a_phone_are_turned_upright(tmp_path):
    for number in range(3):
        write_photo(tmp_path / f"{number}.jpg", gradient(shift=9 * number))
    for number, frame in enumerate(read_frames(tmp_path)):
        assert frame.image.shape == (64, 96, 3)
        difference = frame.image.astype(int) - gradient(shift=9 * number)
        assert np.abs(difference).mean() < 3
    # Calibrations and landmarks are in the pixels as stored.
    assert images.read_picture(tmp_path / "0.jpg").shape == (96, 64, 3)


def test_pictures_beside_videos_are_no_frames(tmp_path):
    """A poster, or the stills that a phone keeps beside its clips."""
    clips = [
        write_clip(tmp_path / name, [gradient()] * 2) for name in ("a.MP4", "b.mp4")
    ]
    (tmp_path / "a.jpg").write_bytes(images.encode(gradient(), "jpeg"))
    assert videos(tmp_path) == clips
    for read in (frame_count, lambda path: list(read_frames(path))):
        with pytest.raises(InputError, match=r"a folder of videos .*give one of"):
            read(tmp_path)


def test_a_picture_beside_folders_of_frames_is_no_frame(tmp_path):
    """A cover, or the picture of `i2z data check`; a number makes it one."""
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        (folder / "0.png").write_bytes(images.encode(gradient(), "png"))
    assert videos(tmp_path) == folders
    (tmp_path / "cover.png").write_bytes(images.encode(gradient(), "png"))
    assert videos(tmp_path) == folders
    assert passed_over(tmp_path) == "pictures beside videos (1: cover.png ...)"
    with pytest.raises(InputError, match=r"a folder of videos .*give one of"):
        frame_count(tmp_path)
    (tmp_path / "1.png").write_bytes(images.encode(gradient(), "png"))
    assert videos(tmp_path) == [tmp_path]
    assert frame_count(tmp_path) == 2


def test_frames_keep_their_folder_beside_masks(tmp_path):
    """Pictures without a number are no covers where no frames lie below."""
    for name in ("left", "right", "masks/left"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(images.encode(gradient(), "png"))
    assert videos(tmp_path) == [tmp_path]
    assert frame_count(tmp_path) == 2


def test_hidden_files_are_no_frames_and_no_videos(tmp_path):
    """What macOS leaves beside files on disks that are not its own."""
    frames, clips = tmp_path / "frames", tmp_path / "clips"
    frames.mkdir()
    clips.mkdir()
    clip = write_clip(clips / "a.mp4", [gradient()] * 2)
    (clips / "._a.mp4").write_bytes(b"\0\5\x16\7")
    for number in range(3):
        (frames / f"{number}.png").write_bytes(images.encode(gradient(), "png"))
        (frames / f"._{number}.png").write_bytes(b"\0\5\x16\7")
    read = list(read_frames(frames))
    assert [frame.problem for frame in read] == ["", "", ""]
    np.testing.assert_allclose([f.time_s for f in read], np.arange(3) / 30)
    assert frame_count(frames) == 3
    assert videos(clips) == [clip]


def test_frames_of_two_sizes_and_a_damaged_one(tmp_path):
    for number in range(5):
        image = gradient(width=96 if number != 2 else 48)
        data = images.encode(image, "jpeg")
        (tmp_path / f"{number}.jpg").write_bytes(data if number != 3 else data[:400])
    read = list(read_frames(tmp_path))
    assert [f.image is None for f in read] == [False, False, True, True, False]
    assert "expected 96x64, got 48x64" in read[2].problem
    assert "3.jpg: damaged or not a picture" in read[3].problem
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"not one frame .*first: .*0\.jpg: damaged"):
        list(read_frames(tmp_path, limit=3))
    # What follows frames that are missing does not continue what was before.
    assert [cut for _, cut in flags(read)] == [True, False, True, True, True]


def test_what_is_no_video(tmp_path):
    empty, text, sound = (tmp_path / n for n in ("empty.mp4", "text.mp4", "sound.mp4"))
    empty.touch()
    text.write_text("not a video at all")
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        silence.sample_rate = 48000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    for path, reason in (
        (empty, "empty file"),
        (text, "cannot be read as a video"),
        (sound, "no video stream .*audio"),
        (tmp_path / "absent.mp4", "cannot be read as a video"),
    ):
        with pytest.raises(InputError, match=reason):
            list(read_frames(path))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        list(read_frames(tmp_path / "nothing"))


def test_a_truncated_video_gives_what_is_left_of_it(tmp_path, rng):
    noise = [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(20)]
    # Matroska has no index at the end: a half file is half a video.
    path = write_clip(tmp_path / "clip.mkv", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 5 < len(list(read_frames(path))) < 15
    # An mp4 without its end has no index, so nothing can be read.
    path = write_clip(tmp_path / "clip.mp4", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cannot be read as a video"):
        list(read_frames(path))


def test_a_damaged_video_says_how_to_keep_what_is_whole(tmp_path, rng):
    """In words that suit every command that reads videos."""
    noise = [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(20)]
    path = write_clip(tmp_path / "clip.mp4", noise, index_first=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"damaged after (\d+) frames") as error:
        list(read_frames(path))
    number = re.search(r"after (\d+)", str(error.value)).group(1)
    assert f"ffmpeg -i VIDEO -frames:v {number} OUT.mp4" in str(error.value)
    assert "--max-frames" not in str(error.value)


@pytest.mark.parametrize("size", [(64, 64), (3840, 2160)], ids=["64x64", "4K"])
def test_small_and_large_videos(tmp_path, size):
    path = write_clip(tmp_path / "clip.mp4", [gradient(*size)] * 2)
    found = flags(read_frames(path))
    assert found == [(False, True), (True, False)]
