# SPDX-License-Identifier: Apache-2.0
"""A video file or a folder of frames -> upright RGB frames in order.

The display matrix and EXIF are applied, pixels are square, as on a display, colours are
BT.709's, and times are the container's own (a variable frame rate stays one) but never
go back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer

from i2z_jax.data import colour
from i2z_jax.data.frame_folder import (
    FOLDER_FPS,
    VIDEO_SUFFIXES,
    frame_pictures,
    holds_videos,
    pictures_in,
    strays,
    times_s,
)
from i2z_jax.data.images import read_picture
from i2z_jax.errors import InputError
from i2z_jax.files import reading, visible
from i2z_jax.types import Int, NDArray, UInt8
from i2z_jax.wording import counted

# Another recording begins where the clock goes back by this much, s. Less is a time
# stamp that is a little off.
SET_BACK_S = 0.5
# Raised when the pictures of a file come out otherwise than before; 2: untagged HD is
# BT.709. What was made of them earlier is made again.
READER = 2


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
    # What `image` was converted to SDR of BT.709 from, in words.
    converted: str = ""


def is_video(path: Path) -> bool:
    """Whether the name says video, or it is a folder of frames.

    Pictures beside videos are no frames: posters, covers, the stills of live photos.
    """
    if path.is_dir():
        return bool(pictures_in(path)) and not holds_videos(path)
    return path.suffix.lower() in VIDEO_SUFFIXES


def refuse_address(source: Path) -> None:
    """Nothing is downloaded here.

    Raises:
        InputError: it is an address, of which a path keeps one of the two slashes.
    """
    scheme, _, rest = str(source).partition(":/")
    if scheme in ("http", "https"):
        raise InputError(
            "is an address",
            where=f"{scheme}://{rest}",
            expected="a file",
            fix="download it first",
        )


def videos(source: Path) -> list[Path]:
    """The videos of a source: itself, or what lies in the folder.

    Raises:
        InputError: neither a video nor a folder with one.
    """
    refuse_address(source)
    with reading(source):
        if source.is_dir() and not is_video(source):
            inside = [p for p in visible(source) if is_video(p)]
            if inside:
                return inside
        elif source.exists():
            return [source]
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
        beside = pictures_in(source)
    stray = [p for folder in folders for p in strays(pictures_in(folder))]
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
        count = len(frame_pictures(path))
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
                coding = colour.coding(decoded)
                if coding.matrix not in colour.READABLE:
                    raise InputError(
                        "colours are coded by a matrix that is not read",
                        where=path,
                        expected="BT.601, BT.709 or BT.2020's",
                        got=f"number {coding.matrix} of ITU-T H.273",
                        fix="export it as ordinary SDR video (BT.709)",
                    )
                image = colour.picture(decoded, round(decoded.width * squeezed))
                if matrix := decoded.side_data.get("DISPLAYMATRIX"):
                    numbers = np.frombuffer(cast(Any, matrix), np.int32)
                    image = _displayed(image, numbers)
                yield Frame(
                    number,
                    last_s,
                    image,
                    restarts=restarts,
                    converted=coding.converted,
                )
                number += 1
        except InputError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            keep = f"`ffmpeg -i VIDEO -frames:v {number} OUT.mp4` keeps what is before"
            raise InputError(
                f"damaged after {counted(number, 'frame')} ({error})",
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
    pictures = frame_pictures(path)
    times = times_s([picture.stem for picture in pictures])
    for number, (picture, time_s) in enumerate(zip(pictures, times, strict=True)):
        try:
            yield Frame(number, time_s, read_picture(picture, upright=True))
        except InputError as error:
            yield Frame(number, time_s, None, str(error))
