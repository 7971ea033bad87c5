# SPDX-License-Identifier: Apache-2.0
"""The first pass over a video: a steady face box for each frame, repeats and cuts.

Detection runs in threads beside decoding: OpenCV releases the GIL. It is nearly all of
the work, so the faces are kept as they are found. A pass that goes on decodes the
frames before again, which tells repeats and cuts as in one go.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from i2z_jax import console
from i2z_jax.data.box_track import bridge, stretches, track
from i2z_jax.data.continuity import Continuity
from i2z_jax.data.face_detector import FINDS, FaceDetector
from i2z_jax.data.row_files import RowFiles
from i2z_jax.data.video import Frame, frame_count, read_frames
from i2z_jax.errors import InputError
from i2z_jax.types import Bool, Float, NDArray
from i2z_jax.wording import counted

# Frames in flight between the decoder and the threads, per thread: bounds memory.
AHEAD = 3

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
    kept: RowFiles,
) -> Analysis:
    """The first pass: one steady box a frame, repeats, cuts and gaps.

    Args:
        path: the video.
        detect: finds faces in one picture.
        given: boxes from elsewhere, which take the detector's place.
        limit: look at this many frames at most.
        threads: of the detector.
        kept: what an interrupted pass has found, for `seen_faces`.

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
    with closing(kept):
        for frame, boxes, _ in seen_faces(frames, detector, threads, kept):
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
