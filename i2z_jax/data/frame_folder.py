# SPDX-License-Identifier: Apache-2.0
"""A folder of frames: which pictures are frames, in which order, and when taken, all by
their names.
"""

import itertools
import re
from collections import Counter
from pathlib import Path

from i2z_jax.data.images import SUFFIXES
from i2z_jax.errors import InputError
from i2z_jax.files import visible

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".webm", ".mkv", ".avi", ".wmv", ".gif"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
)
# Frame rate assumed for a folder of frames, which has no times.
FOLDER_FPS = 30.0


def frame_pictures(path: Path) -> list[Path]:
    """The frames in a folder, in order.

    Raises:
        InputError: there is none, or it has videos.
    """
    if holds_videos(path):
        raise InputError(
            "a folder of videos", where=path, expected="one video", fix="give one of it"
        )
    pictures = pictures_in(path)
    if not pictures:
        raise InputError("no pictures in this folder", where=path)
    frames = sorted(set(pictures) - set(strays(pictures)))
    places = _places([frame.stem for frame in frames])
    return [frame for _, frame in sorted(zip(places, frames, strict=True))]


def holds_videos(path: Path) -> bool:
    """Whether a folder is one of videos: files, or folders of frames.

    Beside numbered frames a picture without a number is a cover. Otherwise pictures
    are the folder's own frames, whatever lies in folders beside them, such as masks.
    """
    inside = visible(path)
    if any(p.suffix.lower() in VIDEO_SUFFIXES for p in inside):
        return True
    own = pictures_in(path)
    if any(_numbers(picture.stem) for picture in own):
        return False
    below = [picture for p in inside if p.is_dir() for picture in pictures_in(p)]
    return any(_numbers(picture.stem) for picture in below) if own else bool(below)


def pictures_in(path: Path) -> list[Path]:
    """All pictures in a folder, by name; frames or not."""
    return [p for p in visible(path) if p.suffix.lower() in SUFFIXES]


def strays(pictures: list[Path]) -> list[Path]:
    """Those without a number in their name, where most have one."""
    without = [picture for picture in pictures if not _numbers(picture.stem)]
    return without if 2 * len(without) < len(pictures) else []


def times_s(names: list[str]) -> list[float]:
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


def _are_alike(names: list[str]) -> bool:
    """Whether names differ in their numbers alone."""
    return len({re.sub(r"\d+", "0", name) for name in names}) == 1


def _numbers(name: str) -> tuple[int, ...]:
    """From left to right."""
    return tuple(map(int, re.findall(r"\d+", name)))
