# SPDX-License-Identifier: Apache-2.0
"""Videos -> the `monocular_video` dataset (records.py has its fields).

Two passes over each video: the first decodes, finds the face, and tells repeats and
cuts; the track over the whole video then gives each frame its crop, which the second
pass cuts out. Detection runs in threads beside decoding (OpenCV lets go of Python's
lock), several videos in processes. One shard a video: its frames stay together and in
order.
"""

import functools
import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from i2z_jax import console
from i2z_jax.data import framing, images, records
from i2z_jax.data.faces import FaceDetector, opencv_detector, smooth, track
from i2z_jax.data.finish import BuildOptions, Summary, finish, work_folder
from i2z_jax.data.shards import Gap, Job, write_shards
from i2z_jax.data.tfds_builder import adopt
from i2z_jax.data.truth import VideoTruth, read_truth, truth_path
from i2z_jax.data.video import (
    Continuity,
    Frame,
    frame_count,
    is_video,
    read_frames,
)
from i2z_jax.data.warp import sample_crop
from i2z_jax.errors import InputError
from i2z_jax.files import write_aside
from i2z_jax.geometry.crop import box_of_points
from i2z_jax.types import Bool, Float, NDArray

NAME = "monocular_video"
# Frames in flight between the decoder and the threads, per thread: bounds memory.
AHEAD = 3

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class VideoOptions:
    """What a crop of a video is."""

    crop_size: int = 256
    codec: images.Codec = "jpeg"
    # .npz or .csv with boxes or landmarks for every frame; wins over the detector.
    boxes: Path | None = None


class Analysis(NamedTuple):
    """What the first pass learns of a video, a row a frame."""

    box: Float[NDArray, "f 4"]  # NaN: no face
    found: Bool[NDArray, "f"]
    duplicate: Bool[NDArray, "f"]
    cut: Bool[NDArray, "f"]


def build(
    sources: tuple[Path, ...],
    out: Path,
    options: BuildOptions,
    video: VideoOptions,
    detect: FaceDetector = opencv_detector,
) -> Summary:
    """Build the dataset under `out` from video files and folders of frames.

    A source is a video, a folder of frames, or a folder of such.

    Raises:
        InputError: nothing could be built; with `options.strict`, the first gap.
    """
    gaps: list[str] = []
    found = [path for source in sources for path in videos(source)]
    if video.boxes is not None and len(found) != 1:
        raise InputError(
            "boxes belong to one video", where=video.boxes, got=f"{len(found)} videos"
        )
    with work_folder(out, NAME, options) as work:
        analysed = []
        for path in found:
            try:
                analysed.append((path, *_analysed(path, work, options, video, detect)))
            except InputError as error:
                if options.strict or len(found) == 1:
                    raise
                gaps.append(str(error))
        jobs = [Job("train", ((path, kept),), n) for path, kept, n in analysed]
        shards = write_shards(
            jobs,
            functools.partial(_encode, options=video, threads=options.workers),
            records.features(NAME),
            work / "shards",
            workers=min(options.workers, max(len(jobs), 1)),
            strict=options.strict,
            what="crops",
        )
        counts = adopt(NAME, shards, out, splits=("train",))
        gaps += [gap for shard in shards for gap in shard.gaps]
        return finish(out, NAME, sources, [options, video], {"": counts}, gaps)


def videos(source: Path) -> list[Path]:
    """The videos of a source: itself, or what lies in the folder.

    Raises:
        InputError: neither a video nor a folder with one.
    """
    try:
        if source.is_dir() and not is_video(source):
            inside = sorted(p for p in source.iterdir() if is_video(p))
            if inside:
                return inside
        elif source.exists():
            return [source]
    except OSError as error:
        raise InputError(f"cannot read ({error.strerror})", where=source) from error
    raise InputError(
        "no video here", where=source, expected="mp4, mov, webm, gif or frames"
    )


def _analysed(
    path: Path,
    work: Path,
    options: BuildOptions,
    video: VideoOptions,
    detect: FaceDetector,
) -> tuple[Path, int]:
    """The first pass, or what the work folder has of it: its file, and its length."""
    key = f"{path.resolve()} {path.stat().st_mtime_ns} {options.max_frames} {video}"
    kept = work / f"track-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not kept.exists():
        given = None if video.boxes is None else read_boxes(video.boxes)
        analysis = analyse(path, detect, given, options.max_frames, options.workers)
        with write_aside(kept) as aside, open(aside, "wb") as file:
            np.savez(file, allow_pickle=False, **analysis._asdict())
    with np.load(kept, allow_pickle=False) as file:
        return kept, len(file["box"])


def analyse(
    path: Path,
    detect: FaceDetector,
    given: Float[NDArray, "f 4"] | None,
    limit: int | None,
    threads: int,
) -> Analysis:
    """The first pass: one steady box a frame, repeats, cuts and gaps.

    Raises:
        InputError: the video is unreadable, no face was found in it, or the boxes
            given are not one for each frame.
    """
    continuity = Continuity()
    duplicate, cut, detections = [], [], []
    none = np.zeros((0, 5))

    def look(frame: Frame) -> Float[NDArray, "k 5"]:
        if given is not None or frame.image is None:
            return none
        return detect(frame.image)

    frames = console.progress(
        read_frames(path, limit),
        f"{path.name}: faces",
        total=frame_count(path, limit),
    )
    for frame, boxes in threaded(look, frames, threads):
        repeats, start = continuity.step(frame)
        duplicate.append(repeats)
        cut.append(start)
        detections.append(boxes)
    starts = np.array(cut)
    if given is None:
        box, found = track(detections, starts)
    else:
        box, found = _steady(given, starts, path)
    if np.isnan(box).all():
        raise InputError(
            "no face found",
            where=path,
            fix="give --boxes FILE with a box or 68 landmarks for each frame",
        )
    return Analysis(box, found, np.array(duplicate), starts)


def _steady(
    given: Float[NDArray, "f 4"], starts: Bool[NDArray, "f"], path: Path
) -> tuple[Float[NDArray, "f 4"], Bool[NDArray, "f"]]:
    if len(given) < len(starts):
        raise InputError(
            "fewer boxes than frames",
            where=path,
            expected=len(starts),
            got=len(given),
        )
    given = given[: len(starts)].astype(float)
    found = np.asarray(np.isfinite(given).all(axis=1))
    box = np.full_like(given, np.nan)
    edges = [0, *(np.flatnonzero(starts[1:]) + 1), len(starts)]
    for a, b in itertools.pairwise(edges):
        seen = a + np.flatnonzero(found[a:b])
        if len(seen):
            box[a:b] = smooth(seen, given[seen], np.arange(a, b))
    return box, found


def read_boxes(path: Path) -> Float[NDArray, "f 4"]:
    """Boxes for every frame of a video, pixels; NaN where there is none.

    An `.npz` has `boxes` (f 4) or `landmarks` (f 68 2); a `.csv` has the columns
    frame, left, top, right, bottom.

    Raises:
        InputError: something else.
    """
    expected = "npz with boxes or landmarks, or csv frame,left,top,right,bottom"
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                if "boxes" in file:
                    return file["boxes"].reshape(-1, 4).astype(float)
                points = file["landmarks"].reshape(-1, 68, 2).astype(float)
                return np.asarray(box_of_points(points))
        table = np.genfromtxt(path, delimiter=",", comments="#", ndmin=2)
        # A line of column names reads as NaN.
        table = table[np.isfinite(table).all(axis=1)]
        rows = table[:, 0].astype(int)
        boxes = np.full((rows.max() + 1, 4), np.nan)
        boxes[rows] = table[:, 1:5]
        return boxes
    except Exception as error:  # a table, a zip or an index that is not what it says
        raise InputError(
            f"not a box file ({error})", where=path, expected=expected
        ) from error


def _encode(
    item: tuple[Path, Path], *, options: VideoOptions, threads: int
) -> Iterator[dict[str, Any] | Gap]:
    """The second pass over one video: its records, in order."""
    path, analysis_path = item
    with np.load(analysis_path, allow_pickle=False) as file:
        analysis = Analysis(*(file[name] for name in Analysis._fields))
    truth = read_truth(truth_path(path)) if truth_path(path).exists() else None
    if truth is not None and len(truth.pose) < len(analysis.box):
        raise InputError(
            "ground truth is shorter than the video",
            where=truth_path(path),
            expected=f"{len(analysis.box)} frames",
            got=len(truth.pose),
        )
    source = _box_source(options)

    def record(frame: Frame) -> dict[str, Any] | Gap:
        number = frame.number
        box = analysis.box[number]
        if frame.image is None:
            return Gap(frame.problem)
        if np.isnan(box).any():
            return Gap(f"{path}: no face in frame {number}")
        crop_from_image = framing.frame(box, source, options.crop_size)
        crop = sample_crop(frame.image, crop_from_image, options.crop_size)
        return {
            "image": images.encode(crop, options.codec),
            "video": path.name,
            "frame": number,
            "time_s": frame.time_s,
            "box": box.astype(np.float32),
            "box_found": bool(analysis.found[number]),
            "crop_from_image": crop_from_image.astype(np.float32),
            "duplicate": bool(analysis.duplicate[number]),
            "cut": bool(analysis.cut[number]),
            **_truth_fields(truth, number, crop_from_image, options.crop_size),
        }

    frames = read_frames(path, len(analysis.box))
    broken = True
    for _, outcome in threaded(record, frames, threads):
        if isinstance(outcome, Gap):
            broken = True
        else:
            # A record that is missing breaks the run of frames like a cut does.
            outcome["cut"] |= broken
            broken = False
        yield outcome


def _box_source(options: VideoOptions) -> framing.BoxSource:
    if options.boxes is None or options.boxes.suffix != ".npz":
        return "detector"
    with np.load(options.boxes, allow_pickle=False) as file:
        return "detector" if "boxes" in file else "landmarks"


def _truth_fields(
    truth: VideoTruth | None,
    number: int,
    crop_from_image: Float[NDArray, "2 3"],
    size: int,
) -> dict[str, Any]:
    fields = {
        "has_truth": truth is not None,
        "pose": np.zeros(6, np.float32),
        "vertices": np.zeros((0, 3), np.float32),
        "landmarks": np.zeros((68, 2), np.float32),
    }
    if truth is not None:
        pose, points = truth.in_crop(number, crop_from_image, size)
        fields |= {"pose": pose.astype(np.float32), "vertices": truth.vertices[number]}
        if points is not None:
            fields["landmarks"] = points.astype(np.float32)
    return fields


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
