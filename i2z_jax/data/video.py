# SPDX-License-Identifier: Apache-2.0
"""A video file or a folder of frames -> upright RGB frames in order.

The display matrix and EXIF are applied, pixels are square, as on a display, HDR is
brought to SDR, times are the container's own (a variable frame rate stays one) but
never go back, and each frame says whether it repeats or continues the one before:
webcams and screen recorders repeat frames, edited clips cut.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.container import InputContainer

from i2z_jax.data import hdr
from i2z_jax.data.images import SUFFIXES, read_picture
from i2z_jax.errors import InputError
from i2z_jax.files import visible
from i2z_jax.types import Float, Int, NDArray, UInt8

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif")
# Frame rate assumed for a folder of frames, which has no times.
FOLDER_FPS = 30.0
# Frames are compared at this many pixels on the longer side, grey levels 0..255.
COMPARE_SIZE = 400
# A repeated frame: no 8x8 block changes by more than this. Coding alone stays below.
REPEAT_LEVELS = 2.2
# A cut: the picture changes by this much on average, and many times the usual.
CUT_LEVELS, CUT_FACTOR = 20.0, 5.0
# A gap: a step in time of more than this many usual ones.
GAP_STEPS = 2.5
# Another recording begins where the clock goes back by this much, s. Less is a time
# stamp that is a little off.
SET_BACK_S = 0.5


@dataclass(frozen=True)
class Frame:
    """One frame. `image` is None for one that could not be read, see `problem`."""

    number: int
    # Not before the last frame's.
    time_s: float
    image: UInt8[NDArray, "h w 3"] | None
    problem: str = ""
    # The container's clock was set back: recordings that were joined.
    restarts: bool = False
    # What `image` was converted to SDR from: HLG or PQ.
    hdr: str = ""


def is_video(path: Path) -> bool:
    """Whether the name says video, or it is a folder of frames.

    Pictures beside video files are no frames: posters, the stills of live photos.
    """
    if path.is_dir():
        inside = {p.suffix.lower() for p in visible(path)}
        return not inside.isdisjoint(SUFFIXES) and inside.isdisjoint(VIDEO_SUFFIXES)
    return path.suffix.lower() in VIDEO_SUFFIXES


def videos(source: Path) -> list[Path]:
    """The videos of a source: itself, or what lies in the folder.

    Raises:
        InputError: neither a video nor a folder with one.
    """
    try:
        if source.is_dir() and not is_video(source):
            inside = [p for p in visible(source) if is_video(p)]
            if inside:
                return inside
        elif source.exists():
            return [source]
    except OSError as error:
        raise InputError(f"cannot read ({error.strerror})", where=source) from error
    raise InputError(
        "no video here", where=source, expected="mp4, mov, webm, gif or frames"
    )


def passed_over(source: Path) -> str:
    """The pictures in a source that are no frames, in words; "" if there are none.

    They lie beside videos, or have no number in their name where most have one: a
    cover, the picture of `i2z data check`.
    """
    if not source.is_dir():
        return ""
    folders, beside = [source], []
    if not is_video(source):
        folders = [p for p in visible(source) if p.is_dir() and is_video(p)]
        beside = _pictures(source)
    stray = [p for folder in folders for p in _strays(_pictures(folder))]
    kinds = {"pictures beside videos": beside, "pictures without a number": stray}
    return " and ".join(
        f"{kind} ({len(found)}: {found[0].relative_to(source)} ...)"
        for kind, found in kinds.items()
        if found
    )


def read_frames(path: str | Path, limit: int | None = None) -> Iterator[Frame]:
    """The frames of a video file or folder, in order, one at a time.

    Frames of another size than the first and unreadable pictures come without an
    image: their number stays theirs.

    Args:
        path: mp4, mov, webm, gif, ... or a folder of pictures ordered by the numbers
            in their names, from left to right; by name where none differs. A picture
            without a number is no frame where most have one.
        limit: stop after this many frames.

    Raises:
        InputError: not a video, a folder of several, no video stream, no frame, or
            damaged on the way.
    """
    path = Path(path)
    frames = _folder_frames(path) if path.is_dir() else _file_frames(path)
    shape, problem = None, ""
    for frame in frames:
        problem = problem or frame.problem
        if limit is not None and frame.number >= limit:
            break
        if frame.image is not None:
            shape = shape or frame.image.shape
            if frame.image.shape != shape:
                yield Frame(
                    frame.number,
                    frame.time_s,
                    None,
                    f"{path}: frame {frame.number} has another size (expected "
                    f"{shape[1]}x{shape[0]}, got {frame.image.shape[1]}x"
                    f"{frame.image.shape[0]})",
                )
                continue
        yield frame
    if shape is None:
        first = f"; the first: {problem}" if problem else ""
        raise InputError(f"not one frame could be read{first}", where=path)


def frame_count(path: Path, limit: int | None = None) -> int | None:
    """About how many frames `read_frames` will give, for a progress bar.

    Raises:
        InputError: as `read_frames`.
    """
    if path.is_dir():
        count = len(_in_order(path))
    else:
        with _opened(path) as container:
            stream = container.streams.video[0]
            count = stream.frames or round(
                (container.duration or 0) / 1e6 * float(stream.average_rate or 0)
            )
    return min(count, limit) if count and limit else count or None


def _file_frames(path: Path) -> Iterator[Frame]:
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or FOLDER_FPS)
        # Wide video on tape, DVD and some cameras has pixels that are not square.
        squeezed = float(stream.sample_aspect_ratio or 1)
        number, last_s, later_s = 0, -np.inf, 0.0
        try:
            for decoded in _decoded(container):
                time_s = number / rate if decoded.time is None else float(decoded.time)
                restarts = time_s + later_s < last_s - SET_BACK_S
                if restarts:
                    later_s = last_s + 1 / rate - time_s
                last_s = max(time_s + later_s, last_s)
                width = round(decoded.width * squeezed)
                if transfer := hdr.transfer(decoded):
                    image = hdr.sdr_picture(decoded, width)
                else:
                    image = decoded.to_ndarray(format="rgb24", width=width)
                if matrix := decoded.side_data.get("DISPLAYMATRIX"):
                    numbers = np.frombuffer(cast(Any, matrix), np.int32)
                    image = _displayed(image, numbers)
                yield Frame(number, last_s, image, restarts=restarts, hdr=transfer)
                number += 1
        except (av.FFmpegError, OSError, ValueError) as error:
            keep = f"`ffmpeg -i VIDEO -frames:v {number} OUT.mp4` keeps what is before"
            raise InputError(
                f"damaged after {number} frames ({error})",
                where=path,
                fix=keep if number else None,
            ) from error


def _displayed(
    image: UInt8[NDArray, "h w 3"], matrix: Int[NDArray, "9"]
) -> UInt8[NDArray, "h2 w2 3"]:
    """Turned and mirrored by a display matrix a b u c d v x y w (ISO 14496-12): pixel
    (x, y) goes to (a x + c y, b x + d y). Other angles are rounded to a quarter turn.
    """
    a, b, _, c, d = matrix[:5].tolist()
    rows, columns = d, a
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, rows, columns = image.swapaxes(0, 1), b, c
    image = image[:: -1 if rows < 0 else 1, :: -1 if columns < 0 else 1]
    return np.ascontiguousarray(image)


def _decoded(container: InputContainer) -> Iterator[av.VideoFrame]:
    """Every frame, as `container.decode`, which passes over a last packet that is cut
    off where it has several threads, and says so where it has one.

    Raises:
        ValueError: the last packet is cut off, and frames are missing.
    """
    sent, received, cut_off = 0, 0, False
    for packet in container.demux(video=0):
        if packet.size:
            sent, cut_off = sent + 1, packet.is_corrupt
        for frame in packet.decode():
            received += 1
            yield cast(av.VideoFrame, frame)
    if cut_off and received < sent:
        raise ValueError("the end is missing")


def _opened(path: Path) -> InputContainer:
    try:
        if path.stat().st_size == 0:
            raise InputError("empty file", where=path, expected="a video")
        container = av.open(str(path))
    except InputError:
        raise
    except (OSError, ValueError) as error:  # av's errors are one or the other
        raise InputError(
            f"cannot be read as a video ({getattr(error, 'strerror', None) or error})",
            where=path,
            expected="mp4, mov, webm, gif or a folder of frames",
        ) from error
    if not container.streams.video:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        container.close()
        raise InputError("no video stream", where=path, got=kinds)
    if container.streams.video[0].codec_context is None:
        container.close()
        raise InputError(
            "no decoder for its video",
            where=path,
            fix="convert it, as `ffmpeg -i VIDEO -c:v libx264 OUT.mp4` does",
        )
    return container


def _folder_frames(path: Path) -> Iterator[Frame]:
    pictures = _in_order(path)
    times = _times_s([picture.stem for picture in pictures])
    for number, (picture, time_s) in enumerate(zip(pictures, times, strict=True)):
        try:
            yield Frame(number, time_s, read_picture(picture, upright=True))
        except InputError as error:
            yield Frame(number, time_s, None, str(error))


def _in_order(path: Path) -> list[Path]:
    """The frames in a folder.

    Raises:
        InputError: there is none, or it has videos.
    """
    if any(p.suffix.lower() in VIDEO_SUFFIXES for p in visible(path)):
        raise InputError(
            "a folder of videos", where=path, expected="one video", fix="give one of it"
        )
    pictures = _pictures(path)
    if not pictures:
        raise InputError("no pictures in this folder", where=path)
    frames = sorted(set(pictures) - set(_strays(pictures)))
    places = _places([frame.stem for frame in frames])
    return [frame for _, frame in sorted(zip(places, frames, strict=True))]


def _pictures(path: Path) -> list[Path]:
    return [p for p in visible(path) if p.suffix.lower() in SUFFIXES]


def _strays(pictures: list[Path]) -> list[Path]:
    """Those without a number in their name, where most have one."""
    without = [picture for picture in pictures if not _numbers(picture.stem)]
    return without if 2 * len(without) < len(pictures) else []


def _numbers(name: str) -> tuple[int, ...]:
    """From left to right."""
    return tuple(map(int, re.findall(r"\d+", name)))


def _are_alike(names: list[str]) -> bool:
    """Whether names differ in their numbers alone."""
    return len({re.sub(r"\d+", "0", name) for name in names}) == 1


def _places(names: list[str]) -> list[tuple[int, ...]]:
    """What frames are ordered by: all numbers in their names, from the left.

    In names that differ in more, as by a hash in front, the last that differs.
    """
    numbers = [_numbers(name) for name in names]
    if _are_alike(names):
        return numbers
    for column in itertools.zip_longest(*(each[::-1] for each in numbers)):
        if len(set(column) - {None}) > 1:
            return [(number or 0,) for number in column]
    return [() for _ in names]


def _times_s(names: list[str]) -> list[float]:
    """When the frames of a folder were taken, by their ordered names.

    One number that differs counts frames, and has gaps where frames are missing. What
    all share is no frame's: the camera of `000021_400002.png`. Several are a date or
    seconds and their fraction, whose steps are not known: there, frames are in turn.
    """
    columns = [c for c in zip(*map(_numbers, names), strict=False) if len(set(c)) > 1]
    counts = len(columns) == 1 and _are_alike(names)
    numbers = columns[0] if counts else range(len(names))
    # Names that count in threes (or start at 21897) have no gap between 3 and 6.
    steps = Counter(b - a for a, b in itertools.pairwise(numbers))
    step = max(steps.most_common(1)[0][0], 1) if steps else 1
    return [(number - numbers[0]) / step / FOLDER_FPS for number in numbers]


class Continuity:
    """Tells repeats, cuts and gaps, one frame after the other."""

    def __init__(self) -> None:
        self._grey: np.ndarray | None = None
        self._time = 0.0
        self._changes: list[float] = []
        self._steps: list[float] = []

    def step(self, frame: Frame) -> tuple[bool, bool]:
        """`(duplicate, cut)` of the next frame. The first one counts as a cut, and so
        does the one after a frame that could not be read."""
        if frame.image is None:
            self._grey = None
            return False, True
        grey = _comparable(frame.image)
        last, self._grey = self._grey, grey
        elapsed, self._time = frame.time_s - self._time, frame.time_s
        if last is None:
            return False, True
        usual_step = float(np.median(self._steps)) if self._steps else elapsed
        gap = frame.restarts or elapsed > GAP_STEPS * usual_step
        self._steps = [*self._steps[-30:], elapsed]
        difference = cv2.blur(grey - last, (8, 8))
        change = float(np.abs(difference).mean())
        usual = float(np.median(self._changes)) if self._changes else 0.0
        cut = change > max(CUT_LEVELS, CUT_FACTOR * usual)
        if not cut:
            self._changes = [*self._changes[-30:], change]
        duplicate = float(np.abs(difference).max()) < REPEAT_LEVELS
        return duplicate and not gap, cut or gap


def _comparable(image: UInt8[NDArray, "h w 3"]) -> Float[NDArray, "h2 w2"]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, COMPARE_SIZE / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return grey.astype(np.float32)
