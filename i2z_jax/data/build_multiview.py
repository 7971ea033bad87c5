# SPDX-License-Identifier: Apache-2.0
"""Captures in Multiface layout -> the `multiview_capture` dataset (records.py).

What belongs to a moment (mesh, average texture, head pose) is stored once, in config
`frames`; what belongs to a moment and a camera (crop, H, view, unwrapped texture) in
config `views`. Frames are written first: a frame whose mesh or average is missing has
no views, and a view knows the row of its frame.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from i2z_jax.data import records
from i2z_jax.data.build_options import BuildOptions, MultiviewOptions
from i2z_jax.data.capture_examples import (
    Moment,
    Views,
    encode_frame,
    encode_views,
    matches,
)
from i2z_jax.data.capture_source import SourceCamera, write_source
from i2z_jax.data.capture_topology import topology_of, topology_path, without_topology
from i2z_jax.data.finish import Summary, finish, work_folder
from i2z_jax.data.multiface import Capture, Frame, Layout
from i2z_jax.data.shards import Job, into_jobs, write_shards
from i2z_jax.data.tfds_builder import adopt
from i2z_jax.errors import InputError

FRAME_SPLITS = ("train", "test")
VIEW_SPLITS = ("train", "test", "camera", "test_camera")
# Examples a shard, about: a view with a 1024 texture is a third of a megabyte.
PER_SHARD = 512


def build(
    sources: tuple[Path, ...],
    out: Path,
    options: BuildOptions,
    capture: MultiviewOptions,
) -> Summary:
    """Build both configs under `out`, several sources (subjects) into one dataset.

    Raises:
        InputError: a source is no capture, a filter matches nothing; with
            `options.strict`, the first gap.
    """
    captures = [Capture(root) for root in sources]
    chosen = [_cameras(opened, capture) for opened in captures]
    if capture.test_segments != MultiviewOptions.test_segments:  # someone names them
        _require_segments(captures, capture.test_segments)
    topologies = [topology_of(root, capture) for root in sources]
    moments: dict[str, list[Moment]] = {split: [] for split in FRAME_SPLITS}
    gaps = []
    for index, opened in enumerate(captures):
        _ = opened.statistics  # without them nothing is built: not known after hours
        gaps += _absent(opened, chosen[index])
        if topologies[index] is None:
            gaps.append(without_topology(opened.paths.root))
        for frame in _frames(opened, capture, options.max_frames):
            split = "test" if matches(frame.segment, capture.test_segments) else "train"
            moments[split].append(Moment(opened.paths.root, index, frame))
    if options.strict and gaps:
        raise InputError(gaps[0])
    shared = [_shared_files(opened, capture) for opened in captures]
    with work_folder(out, records.MULTIVIEW, options) as work:
        jobs = [j for s in FRAME_SPLITS for j in into_jobs(s, moments[s], PER_SHARD)]
        frame_shards = write_shards(
            jobs,
            functools.partial(encode_frame, options=capture),
            records.features(f"{records.MULTIVIEW}/frames"),
            work / "frames",
            workers=options.workers,
            strict=options.strict,
            what="frames",
            sources=lambda moment: [*shared[moment.source], *_frame_files(moment)],
        )
        built = [
            (job.split, moment)
            for job, shard in zip(jobs, frame_shards, strict=True)
            for moment, count in zip(job.items, shard.examples, strict=True)
            if count
        ]
        view_shards = write_shards(
            _view_jobs(built, captures, chosen, capture),
            functools.partial(encode_views, options=capture),
            records.features(
                f"{records.MULTIVIEW}/views", texture=capture.view_textures
            ),
            work / "views",
            workers=options.workers,
            strict=options.strict,
            what="views",
            sources=lambda v: [*shared[v.moment.source], *_view_files(v)],
        )
        counts = {
            "frames": adopt(
                records.MULTIVIEW,
                frame_shards,
                work,
                splits=FRAME_SPLITS,
                config="frames",
            ),
            "views": adopt(
                records.MULTIVIEW,
                view_shards,
                work,
                splits=VIEW_SPLITS,
                config="views",
                texture=capture.view_textures,
            ),
        }
        for index, opened in enumerate(captures):
            write_source(
                work / records.MULTIVIEW / "sources" / str(index),
                _source_cameras(opened, capture),
                opened.statistics,
                topologies[index],
            )
        gaps += [gap for shard in (*frame_shards, *view_shards) for gap in shard.gaps]
        return finish(
            work, records.MULTIVIEW, sources, [options, capture], counts, gaps
        )


def _shared_files(opened: Capture, options: MultiviewOptions) -> list[Path | None]:
    """What decides the records of all frames of a capture."""
    paths = opened.paths
    topology = topology_path(paths, options)
    means = [paths.root / name for name in ("tex_mean.png", "vert_mean.bin")]
    return [paths.krt, *means, topology]


def _frame_files(moment: Moment) -> list[Path]:
    paths, frame = Layout(moment.root), moment.frame
    return [paths.mesh(frame), paths.transform(frame), paths.texture(frame)]


def _view_files(views: Views) -> list[Path]:
    paths, frame = Layout(views.moment.root), views.moment.frame
    images = [paths.image(frame, name) for name in views.cameras]
    textures = [paths.texture(frame, name) for name in views.cameras]
    return [*_frame_files(views.moment), *images, *textures]


def _cameras(opened: Capture, options: MultiviewOptions) -> tuple[str, ...]:
    """The cameras to build, in KRT order.

    Raises:
        InputError: a pattern matches no camera.
    """
    for pattern in (*options.cameras, *options.test_cameras):
        if not any(matches(name, [pattern]) for name in opened.cameras):
            raise InputError(
                f"no camera {pattern}",
                where=opened.paths.krt,
                expected=_some(opened.cameras),
            )
    return tuple(n for n in opened.cameras if matches(n, options.cameras))


def _frames(
    opened: Capture, options: MultiviewOptions, most: int | None
) -> Sequence[Frame]:
    """The frames to build; with a limit, that many spread over all of them."""
    _require_segments([opened], options.segments)
    frames = [f for f in opened.frames if matches(f.segment, options.segments)]
    if most is None or most >= len(frames):
        return frames
    return [frames[i * len(frames) // most] for i in range(most)]


def _require_segments(captures: Sequence[Capture], patterns: Sequence[str]) -> None:
    """Refuse a pattern that matches no segment of any of these captures."""
    names = dict.fromkeys(name for opened in captures for name in opened.segments)
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in names):
            raise InputError(
                f"no segment {pattern}",
                where=", ".join(str(opened.paths.frame_list) for opened in captures),
                expected=_some(names),
            )


def _some(names: Sequence[str] | dict[str, Any]) -> str:
    shown = list(names)[:6]
    return "one of " + ", ".join(shown) + (", ..." if len(names) > 6 else "")


def _absent(opened: Capture, cameras: Sequence[str]) -> Iterator[str]:
    """One line a camera that a segment lacks altogether, or that KRT lacks."""
    for segment in opened.segments:
        folder, there = opened.paths.images(segment), opened.filmed_by(segment)
        missing = [name for name in cameras if name not in there]
        if missing:
            yield f"{folder}: no images of camera {', '.join(missing)}"
        if unknown := sorted(there - set(opened.cameras)):
            yield f"{folder}: camera {', '.join(unknown)} is not in KRT"


def _view_jobs(
    built: Sequence[tuple[str, Moment]],
    captures: Sequence[Capture],
    chosen: Sequence[Sequence[str]],
    options: MultiviewOptions,
) -> list[Job]:
    items: dict[str, list[Views]] = {split: [] for split in VIEW_SPLITS}
    for row, (split, moment) in enumerate(built):
        there = captures[moment.source].filmed_by(moment.frame.segment)
        names = [name for name in chosen[moment.source] if name in there]
        held = [n for n in names if matches(n, options.test_cameras)]
        kept = [n for n in names if n not in held]
        for part, cameras in ((split, kept), (_camera_split(split), held)):
            if cameras:
                items[part].append(Views(moment, row, tuple(cameras)))
    jobs = []
    for split, views in items.items():
        cameras = max((len(v.cameras) for v in views), default=1)
        jobs += into_jobs(split, views, max(PER_SHARD // cameras, 1), cameras)
    return jobs


def _camera_split(split: str) -> str:
    return "camera" if split == "train" else "test_camera"


def _source_cameras(opened: Capture, options: MultiviewOptions) -> list[SourceCamera]:
    return [
        SourceCamera(
            name,
            matches(name, options.test_cameras),
            camera.intrinsics,
            camera.camera_from_world,
        )
        for name, camera in opened.cameras.items()
    ]
