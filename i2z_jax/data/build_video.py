# SPDX-License-Identifier: Apache-2.0
"""Videos -> the `monocular_video` dataset (records.py has its fields).

Two passes over each video: the first decodes, finds the face, and tells repeats and
cuts; the track over the whole video then gives each frame its crop, which the second
pass cuts out. One shard a video: its frames stay together and in order.
"""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from i2z_jax import console
from i2z_jax.data import framing, images, records
from i2z_jax.data.box_file import read_boxes
from i2z_jax.data.build_options import BuildOptions, MonocularOptions
from i2z_jax.data.face_detector import FaceDetector, opencv_detector
from i2z_jax.data.finish import Summary, finish, work_folder
from i2z_jax.data.row_files import RowFiles, read_whole
from i2z_jax.data.shards import Gap, Job, write_shards
from i2z_jax.data.tfds_builder import adopt
from i2z_jax.data.truth import VideoTruth, truth_of, truth_path
from i2z_jax.data.video import (
    READER,
    Frame,
    frame_count,
    passed_over,
    read_frames,
    videos,
)
from i2z_jax.data.video_analysis import SCANNER, Scan, scan, threaded
from i2z_jax.data.warp import sample_crop
from i2z_jax.errors import InputError
from i2z_jax.files import versions, visible, write_npz
from i2z_jax.types import Float, NDArray


def build(
    sources: tuple[Path, ...],
    out: Path,
    options: BuildOptions,
    video: MonocularOptions,
    detect: FaceDetector = opencv_detector,
) -> Summary:
    """Build the dataset under `out` from video files and folders of frames.

    A source is a video, a folder of frames, or a folder of such; pictures in it that
    are no frames are passed over, and a line says so.

    Raises:
        InputError: nothing could be built; with `options.strict`, the first gap.
    """
    gaps: list[str] = []
    found = [path for source in sources for path in videos(source)]
    for source in sources:
        if stills := passed_over(source):
            console.err.print(f"{source}: passed over are {stills}")
    if video.boxes is not None and len(found) != 1:
        raise InputError(
            "boxes belong to one video", where=video.boxes, got=f"{len(found)} videos"
        )
    _require_own_truth(found)
    made_of = _digest(found, options, video)
    given, source = None, "detector"
    if video.boxes is not None:
        given, source = read_boxes(video.boxes)
    with work_folder(out, records.VIDEO, options) as work:
        scanned = []
        for path in found:
            try:
                kept, length = _scanned(path, work, options, video, given, detect)
                scanned.append((path, kept, length))
            except InputError as error:
                if options.strict or len(found) == 1:
                    raise
                gaps.append(str(error))
        jobs = [Job("train", ((path, kept),), length) for path, kept, length in scanned]
        # Processes share the threads: each thread has whole frames in flight.
        processes = min(options.workers, max(len(jobs), 1))
        threads = options.workers // processes
        shards = write_shards(
            jobs,
            functools.partial(
                _encode,
                options=video,
                limit=options.max_frames,
                source=source,
                threads=threads,
            ),
            {"": records.features(records.VIDEO)},
            work / "shards",
            workers=processes,
            strict=options.strict,
            what="crops",
        )
        counts = adopt(records.VIDEO, shards, work, splits=("train",))
        gaps += [gap for shard in shards for gap in shard.gaps]
        return finish(
            work,
            records.VIDEO,
            sources,
            [options, video],
            {"": counts},
            shards,
            gaps,
            made_of,
        )


def _require_own_truth(found: Sequence[Path]) -> None:
    """Refuse a.mp4 and a.mov beside one a.truth.npz."""
    owners: dict[Path, Path] = {}
    for path in found:
        truth = truth_path(path)
        if truth.exists() and owners.setdefault(truth, path) != path:
            raise InputError(
                "the truth of two videos",
                where=truth,
                got=f"{owners[truth].name} and {path.name}",
                fix="give one of the two another name",
            )


def is_current(
    sources: tuple[Path, ...], out: Path, options: BuildOptions, video: MonocularOptions
) -> bool:
    """Whether the dataset under `out` is what `build` would make of these files, as
    they are now, with these options.

    Raises:
        InputError: a source is no video.
    """
    found = [path for source in sources for path in videos(source)]
    try:
        built = records.description(out, records.VIDEO)
    except InputError:
        return False
    return built.get("made_of") == _digest(found, options, video)


def _digest(
    found: Sequence[Path], options: BuildOptions, video: MonocularOptions
) -> str:
    """What tells the records of these videos from those of other or edited files, or
    of other options."""
    files: list[Path | None] = [video.boxes]
    for path in found:
        files += [path, *(visible(path) if path.is_dir() else ())]
        files.append(truth_path(path))
    names = [str(file.resolve()) if file else None for file in files]
    read = list(zip(names, versions(*files), strict=True))
    how = (READER, SCANNER, options.max_frames, video.crop_size, video.codec)
    key = repr((how, read))
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _scanned(
    path: Path,
    work: Path,
    options: BuildOptions,
    video: MonocularOptions,
    given: Float[NDArray, "g 4"] | None,
    detect: FaceDetector,
) -> tuple[Path, int]:
    """The first pass, or what the work folder has of it: its file, and its length."""
    name = f"faces-{_digest([path], options, video)}"
    kept = work / f"{name}.npz"
    found = read_whole(kept)
    if found is None:
        limit = options.max_frames
        found = scan(
            path,
            read_frames(path, limit),
            detect,
            total=frame_count(path, limit),
            given=given,
            threads=options.workers,
            kept=RowFiles(work, name),
        )._asdict()
        write_npz(kept, found)
    return kept, len(found["box"])


def _encode(
    item: tuple[Path, Path],
    *,
    options: MonocularOptions,
    limit: int | None,
    source: framing.BoxSource,
    threads: int,
) -> Iterator[dict[str, Any] | Gap]:
    """The second pass over one video: its records, in order."""
    path, kept = item
    with np.load(kept, allow_pickle=False) as file:
        first = Scan(*(file[name] for name in Scan._fields))
    truth = truth_of(path, len(first.box), limit)

    def record(frame: Frame) -> dict[str, Any] | Gap:
        number = frame.number
        box = first.box[number]
        if frame.image is None:
            return Gap(frame.problem)
        if np.isnan(box).any():
            return Gap(f"{path}: no face box for frame {number}")
        crop_from_image = framing.crop_for_box(box, source, options.crop_size)
        crop = sample_crop(frame.image, crop_from_image, options.crop_size)
        return {
            "image": images.encode(crop, options.codec),
            "video": path.name,
            "frame": number,
            "time_s": frame.time_s,
            "box": box.astype(np.float32),
            "box_found": bool(first.found[number]),
            "crop_from_image": crop_from_image.astype(np.float32),
            "duplicate": bool(first.duplicate[number]),
            "cut": bool(first.cut[number]),
            **_truth_fields(truth, number, crop_from_image, options.crop_size),
        }

    frames = read_frames(path, len(first.box))
    broken = True
    for _, outcome in threaded(record, frames, threads):
        if isinstance(outcome, Gap):
            broken = True
        else:
            # A record that is missing breaks the run of frames like a cut does.
            outcome["cut"] |= broken
            broken = False
        yield outcome


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
        "z": np.zeros(0, np.float32),
    }
    if truth is not None:
        pose, points = truth.in_crop(number, crop_from_image, size)
        fields |= {"pose": pose.astype(np.float32), "vertices": truth.vertices[number]}
        if points is not None:
            fields["landmarks"] = points.astype(np.float32)
        if truth.z is not None:
            fields["z"] = truth.z[number]
    return fields
