# SPDX-License-Identifier: Apache-2.0
"""The first pass over a video: a steady face box for each frame, repeats and cuts.

Detection runs in threads beside decoding: OpenCV releases the GIL. It is nearly all of
the work, so the faces are kept as they are found. A pass that goes on decodes the
frames before again, which tells repeats and cuts as in one go.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from i2z_jax import console
from i2z_jax.data.box_track import NO_BOX, bridge, choose, stretches
from i2z_jax.data.continuity import Continuity
from i2z_jax.data.face_detector import FINDS, FaceDetector
from i2z_jax.data.row_files import RowFiles
from i2z_jax.data.video import Frame
from i2z_jax.errors import InputError
from i2z_jax.stopwatch import Stopwatch
from i2z_jax.types import Bool, Float, NDArray
from i2z_jax.wording import counted

# Frames in flight between the decoder and the threads, per thread: bounds memory.
AHEAD = 3

# Raised when the boxes of a video come out otherwise than before; 2: a face is followed
# on both sides of a long absence. What was made of them earlier is made again.
SCANNER = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


class Scan(NamedTuple):
    """What the first pass learns of a video, a row a frame."""

    time_s: Float[NDArray, "f"]
    box: Float[NDArray, "f 4"]  # px; NaN: no face
    found: Bool[NDArray, "f"]  # a detection of that very frame stands behind the box
    cut: Bool[NDArray, "f"]  # does not continue the frame before
    duplicate: Bool[NDArray, "f"]  # repeats it
    readable: Bool[NDArray, "f"]
    size: NDArray  # (2,) width, height in px


def scan(
    path: Path,
    frames: Iterable[Frame],
    detect: FaceDetector,
    *,
    total: int | None,
    face: int = 1,
    given: Float[NDArray, "g 4"] | None = None,
    threads: int = 2,
    kept: RowFiles,
    clock: Stopwatch | None = None,
) -> Scan:
    """The first pass: repeats, cuts, and one steady box a frame for the face that is
    wanted.

    Args:
        path: what the frames are of.
        frames: from the first one on.
        detect: finds faces in one picture; called from `threads` threads.
        total: about how many frames there are, for progress; None if nobody knows.
        face: 1 is the largest, 2 the next, ...
        given: boxes from elsewhere, a row a frame, NaN where there is none; they
            take the detector's place.
        threads: of the detector.
        kept: what an interrupted pass has found, for `seen_faces`.
        clock: gets stage `detect` (seconds of all threads together).

    Raises:
        InputError: unreadable, no face in any frame, or not that many faces.
    """
    continuity, clock = Continuity(), clock or Stopwatch()
    times, detections, cuts, duplicates, readable = [], [], [], [], []
    size = np.zeros(2, np.int64)
    shown = console.progress(frames, f"{path.name}: faces", total=total)
    detector = detect if given is None else None
    with closing(kept):
        for frame, boxes, seconds in seen_faces(shown, detector, threads, kept):
            duplicate, cut = continuity.step(frame)
            times.append(frame.time_s)
            detections.append(boxes)
            cuts.append(cut)
            duplicates.append(duplicate)
            readable.append(frame.image is not None)
            if frame.image is not None:
                size[:] = frame.image.shape[1], frame.image.shape[0]
            if seconds:
                clock.add("detect", seconds, 1)
    cut = np.array(cuts)
    if given is None:
        box, found = choose(detections, cut, face)
    else:
        box, found = steady(given, cut)
    if not np.isfinite(box).any():
        raise InputError(
            "no face found" if face == 1 else f"no face number {face} found",
            where=path,
            expected=FINDS,
            fix="give --boxes FILE with a box or 68 landmarks for each frame",
        )
    return Scan(
        np.array(times, float),
        box,
        found,
        cut,
        np.array(duplicates),
        np.array(readable),
        size,
    )


def seen_faces(
    frames: Iterator[Frame], detect: FaceDetector | None, threads: int, kept: RowFiles
) -> Iterator[tuple[Frame, Float[NDArray, "k 5"], float]]:
    """Each frame, the faces detected in it, and the seconds that this took. At the
    end it is said how many could not be read, and why the first could not.

    Args:
        frames: from the first one on.
        detect: called from so many threads; None sees no face.
        threads: how many.
        kept: has the faces of frames that are not looked at again, and gets the others.
            Who iterates closes it: an interruption there does not come through here.
    """
    found = kept.read()
    before = np.split(found["boxes"], found["faces"].cumsum()[:-1]) if found else []

    def look(frame: Frame) -> tuple[Float[NDArray, "k 5"], float]:
        start = time.perf_counter()
        if detect is None or frame.image is None:
            return NO_BOX, 0.0
        if frame.number < len(before):
            return before[frame.number], 0.0
        return detect(frame.image), time.perf_counter() - start

    count, problems = 0, []
    for frame, (boxes, seconds) in threaded(look, frames, threads):
        count += 1
        if frame.image is None:
            problems.append(frame.problem)
        if detect is not None and frame.number >= len(before):
            kept.add(1, faces=np.array([len(boxes)]), boxes=boxes)
        yield frame, boxes, seconds
    if problems:
        console.err.print(
            f"{len(problems)} of {counted(count, 'frame')} could not be read; "
            f"the first: {problems[0]}"
        )


def steady(
    given: Float[NDArray, "g 4"], starts: Bool[NDArray, "f"]
) -> tuple[Float[NDArray, "f 4"], Bool[NDArray, "f"]]:
    """Boxes that somebody gave, smoothed and bridged as `track` does with seen ones;
    and where one was given. Frames beyond the last row have none."""
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
