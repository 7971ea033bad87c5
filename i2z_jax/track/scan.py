# SPDX-License-Identifier: Apache-2.0
"""First pass: decode and detect; one steady box a frame for the face that is wanted.

Detections of all frames are kept (five numbers a face), pictures are not. The chain
of detections with the most size and certainty is the largest face; taking its
detections away and looking again gives the second one, and so on. A face that was away
for longer than the box track bridges is looked for again in the frames left open.
"""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from i2z_jax import console
from i2z_jax.data.box_track import LONGEST_MISS, stretches, track
from i2z_jax.data.continuity import Continuity
from i2z_jax.data.face_detector import FINDS, FaceDetector
from i2z_jax.data.row_files import RowFiles
from i2z_jax.data.video_analysis import NO_BOX, seen_faces, steady
from i2z_jax.errors import InputError
from i2z_jax.stopwatch import Stopwatch
from i2z_jax.track import source
from i2z_jax.types import Bool, Float, NDArray

# A face that comes back is believed when it is seen this often.
RETURN_SEEN = 5


class Scan(NamedTuple):
    """What the first pass knows, a row a frame."""

    time_s: Float[NDArray, "f"]
    box: Float[NDArray, "f 4"]  # px; NaN: no face
    found: Bool[NDArray, "f"]  # a detection of that very frame stands behind the box
    cut: Bool[NDArray, "f"]  # does not continue the frame before
    duplicate: Bool[NDArray, "f"]  # repeats it
    readable: Bool[NDArray, "f"]
    size: NDArray  # (2,) width, height in px


def scan(
    path: Path,
    detect: FaceDetector,
    *,
    face: int = 1,
    given: Float[NDArray, "g 4"] | None = None,
    limit: int | None = None,
    threads: int = 2,
    kept: RowFiles,
    clock: Stopwatch,
) -> Scan:
    """Find the face that is wanted in every frame.

    Args:
        path: video, folder or picture.
        detect: finds faces in one picture; called from `threads` threads.
        face: 1 is the largest, 2 the next, ...
        given: boxes from elsewhere, a row a frame, NaN where there is none; they
            take the detector's place.
        limit: look at this many frames at most.
        threads: of the detector.
        kept: what an interrupted pass has found, for `seen_faces`.
        clock: gets stages `decode` and `detect` (seconds of all threads together).

    Raises:
        InputError: unreadable, no face in any frame, or not that many faces.
    """
    continuity = Continuity()
    times, detections, cuts, duplicates, readable = [], [], [], [], []
    size = np.zeros(2, np.int64)
    frames = console.progress(
        clock.each("decode", source.frames(path, limit)),
        f"{path.name}: faces",
        total=source.count(path, limit),
    )
    detector = detect if given is None else None
    with closing(kept):
        for frame, boxes, seconds in seen_faces(frames, detector, threads, kept):
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


def choose(
    detections: list[Float[NDArray, "_ 5"]], starts: Bool[NDArray, "f"], face: int = 1
) -> tuple[Float[NDArray, "f 4"], Bool[NDArray, "f"]]:
    """The box track of the face of a rank, from the detections of all faces.

    Returns:
        boxes, NaN where there is none, and where a detection stands behind the box.
    """
    left = detections
    for _ in range(face - 1):
        boxes, found = _with_returns(left, starts)
        left = [
            _without_nearest(seen, box) if was_found else seen
            for seen, box, was_found in zip(left, boxes, found, strict=True)
        ]
    return _with_returns(left, starts)


def _with_returns(
    detections: list[Float[NDArray, "_ 5"]], starts: Bool[NDArray, "f"]
) -> tuple[Float[NDArray, "f 4"], Bool[NDArray, "f"]]:
    """`track`, again and again in the frames that it leaves open."""
    boxes, found = track(detections, starts)
    sure = _between_found(found, starts)
    while True:
        rest = [
            NO_BOX if is_sure else seen
            for seen, is_sure in zip(detections, sure, strict=True)
        ]
        edges = starts.copy()
        edges[1:] |= sure[1:] != sure[:-1]
        more, more_found = track(rest, edges)
        more_sure = _between_found(more_found, edges, RETURN_SEEN) & ~sure
        if not more_sure.any():
            return _bridged(boxes, sure, starts), found
        boxes[more_sure] = more[more_sure]
        found |= more_sure & more_found
        sure |= more_sure


def _between_found(
    found: Bool[NDArray, "f"], starts: Bool[NDArray, "f"], least: int = 1
) -> Bool[NDArray, "f"]:
    """Frames of each stretch from the first to the last one with a detection, where
    there are at least so many."""
    sure = np.zeros(len(found), bool)
    for a, b in stretches(starts):
        seen = a + np.flatnonzero(found[a:b])
        if len(seen) >= least:
            sure[seen[0] : seen[-1] + 1] = True
    return sure


def _bridged(
    boxes: Float[NDArray, "f 4"], sure: Bool[NDArray, "f"], starts: Bool[NDArray, "f"]
) -> Float[NDArray, "f 4"]:
    """Short gaps between sure frames in a straight line, short ends held; else NaN."""
    result = np.full_like(boxes, np.nan)
    for a, b in stretches(starts):
        rows, known = np.arange(a, b), a + np.flatnonzero(sure[a:b])
        if not len(known):
            continue
        after = np.searchsorted(known, rows)
        before = np.where(after > 0, known[np.maximum(after - 1, 0)], a - 1)
        following = np.append(known, b)[after]
        near = sure[a:b] | (following - before - 1 <= LONGEST_MISS)
        lines = [np.interp(rows, known, column[known]) for column in boxes.T]
        result[a:b] = np.where(near[:, None], np.stack(lines, axis=-1), np.nan)
    return result


def _without_nearest(
    seen: Float[NDArray, "k 5"], box: Float[NDArray, "4"]
) -> Float[NDArray, "_ 5"]:
    if len(seen) == 0:
        return seen
    middle = (seen[:, :2] + seen[:, 2:4] - box[:2] - box[2:]) / 2
    return np.delete(seen, np.argmin(np.abs(middle).max(axis=1)), axis=0)
