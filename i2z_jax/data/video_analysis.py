# SPDX-License-Identifier: Apache-2.0
"""The first pass over a video: a steady face box for each frame, repeats and cuts.

Detection runs in threads beside decoding: OpenCV lets go of Python's lock.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from i2z_jax import console
from i2z_jax.data.faces import FINDS, FaceDetector, bridge, stretches, track
from i2z_jax.data.framing import BoxSource
from i2z_jax.data.video import Continuity, Frame, frame_count, read_frames
from i2z_jax.errors import InputError
from i2z_jax.files import open_npz, read_text
from i2z_jax.geometry.crop import box_of_points
from i2z_jax.types import Bool, Float, NDArray

# Frames in flight between the decoder and the threads, per thread: bounds memory.
AHEAD = 3
# Of a table of boxes.
COLUMNS = ["frame", "left", "top", "right", "bottom"]

# The boxes of a frame without a face.
NO_BOX = np.zeros((0, 5))

Item = TypeVar("Item")
Result = TypeVar("Result")


class Analysis(NamedTuple):
    """What the first pass learns of a video, a row a frame."""

    box: Float[NDArray, "f 4"]  # NaN: no face
    found: Bool[NDArray, "f"]
    duplicate: Bool[NDArray, "f"]
    cut: Bool[NDArray, "f"]


def analyse(
    path: Path,
    detect: FaceDetector,
    given: Float[NDArray, "g 4"] | None,
    limit: int | None,
    threads: int,
) -> Analysis:
    """The first pass: one steady box a frame, repeats, cuts and gaps.

    Raises:
        InputError: the video is unreadable, or it has no face.
    """
    continuity = Continuity()
    duplicate, cut, detections = [], [], []
    frames = console.progress(
        read_frames(path, limit),
        f"{path.name}: faces",
        total=frame_count(path, limit),
    )
    detector = detect if given is None else None
    for frame, boxes, _ in seen_faces(frames, detector, threads):
        repeats, start = continuity.step(frame)
        duplicate.append(repeats)
        cut.append(start)
        detections.append(boxes)
    starts = np.array(cut)
    if given is None:
        box, found = track(detections, starts)
    else:
        box, found = steady(given, starts)
    if np.isnan(box).all():
        raise InputError(
            "no face found",
            where=path,
            expected=FINDS,
            fix="give --boxes FILE with a box or 68 landmarks for each frame",
        )
    return Analysis(box, found, np.array(duplicate), starts)


def seen_faces(
    frames: Iterator[Frame], detect: FaceDetector | None, threads: int
) -> Iterator[tuple[Frame, Float[NDArray, "k 5"], float]]:
    """Each frame, the faces detected in it, and the seconds that this took. At the
    end it is said how many could not be read, and why the first could not.

    Args:
        detect: called from so many threads; None sees no face.
    """

    def look(frame: Frame) -> tuple[Float[NDArray, "k 5"], float]:
        start = time.perf_counter()
        if detect is None or frame.image is None:
            return NO_BOX, 0.0
        return detect(frame.image), time.perf_counter() - start

    count, problems = 0, []
    for frame, (boxes, seconds) in threaded(look, frames, threads):
        count += 1
        if frame.image is None:
            problems.append(frame.problem)
        yield frame, boxes, seconds
    if problems:
        console.err.print(
            f"{len(problems)} of {count} frames could not be read; the first: "
            f"{problems[0]}"
        )


def steady(
    given: Float[NDArray, "g 4"], starts: Bool[NDArray, "f"]
) -> tuple[Float[NDArray, "f 4"], Bool[NDArray, "f"]]:
    """Boxes that somebody gave, smoothed and bridged as `faces.track` does with seen
    ones; and where one was given. Frames beyond the last row have none."""
    boxes = np.full((len(starts), 4), np.nan)
    boxes[: len(given)] = given[: len(starts)]
    found = np.asarray(np.isfinite(boxes).all(axis=1))
    for first, last in stretches(starts):
        times = np.flatnonzero(found[first:last])
        if len(times):
            seen = boxes[first + times]
            boxes[first:last] = bridge(times, seen, last - first)
        else:
            boxes[first:last] = np.nan
    return boxes, found


def read_boxes(path: Path) -> tuple[Float[NDArray, "f 4"], BoxSource]:
    """Boxes for the frames of a video, pixels, NaN where there is none; and what they
    are boxes of.

    An `.npz` has `boxes` (f 4) or `landmarks` (f 68 2); a `.csv` has the columns
    frame, left, top, right, bottom. Boxes have the proportions of the detector's
    (docs/data.md).

    Raises:
        InputError: something else, or not one box, or one that is turned inside out.
    """
    expected = "npz with boxes or landmarks, or csv frame,left,top,right,bottom"
    source: BoxSource = "detector"
    try:
        if path.suffix == ".npz":
            with open_npz(path) as file:
                if "boxes" in file:
                    boxes = file["boxes"].reshape(len(file["boxes"]), 4).astype(float)
                else:
                    points = file["landmarks"].reshape(-1, 68, 2).astype(float)
                    boxes, source = np.asarray(box_of_points(points)), "landmarks"
        else:
            boxes = _table(path)
    except InputError:
        raise
    except Exception as error:  # a table, a zip or an index that is not what it says
        raise InputError(
            f"not a box file ({error})", where=path, expected=expected
        ) from error
    there = np.isfinite(boxes).all(axis=1)
    if not there.any():
        raise InputError("not one box", where=path, expected="one for some frame")
    inside_out = np.flatnonzero(there & ~(boxes[:, :2] < boxes[:, 2:]).all(axis=1))
    if len(inside_out):
        frame = int(inside_out[0])
        raise InputError(
            f"box of frame {frame} without extent",
            where=path,
            expected="left < right and top < bottom",
            got=",".join(f"{edge:g}" for edge in boxes[frame]),
        )
    return boxes, source


def _table(path: Path) -> Float[NDArray, "f 4"]:
    """Boxes of a csv with the columns frame, left, top, right, bottom."""
    lines = read_text(path).splitlines()
    header = [word.strip().lower() for word in lines[0].split(",")[:5]] if lines else []
    if len(header) == 5 and all(map(str.isidentifier, header)) and header != COLUMNS:
        raise InputError(
            "columns of other names",
            where=path,
            expected=",".join(COLUMNS),
            got=lines[0][:80],
        )
    rows = np.array([row for line in lines if (row := _five_numbers(line))])
    if not len(rows):
        raise InputError(
            "not a line of five numbers with commas between",
            where=path,
            expected=",".join(COLUMNS),
            got=repr(lines[0][:80] if lines else ""),
        )
    numbers = rows[:, 0]
    wrong = numbers[(numbers < 0) | (numbers % 1 != 0)]
    if len(wrong):
        raise InputError(
            "not a frame's number",
            where=path,
            expected="0, 1, ...",
            got=f"{wrong[0]:g}",
        )
    boxes = np.full((int(numbers.max()) + 1, 4), np.nan)
    boxes[numbers.astype(int)] = rows[:, 1:]
    return boxes


def _five_numbers(line: str) -> list[float]:
    """The first five of a line; none of one that has names, or a number missing."""
    try:
        row = [float(word) for word in line.split("#")[0].split(",")[:5]]
    except ValueError:
        return []
    return row if len(row) == 5 and np.isfinite(row).all() else []


def threaded(
    do: Callable[[Item], Result], items: Iterator[Item], threads: int
) -> Iterator[tuple[Item, Result]]:
    """`(item, do(item))` in order, a few items ahead in threads."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque = deque()
        for item in items:
            waiting.append((item, pool.submit(do, item)))
            if len(waiting) > AHEAD * threads:
                first, result = waiting.popleft()
                yield first, result.result()
        while waiting:
            first, result = waiting.popleft()
            yield first, result.result()
