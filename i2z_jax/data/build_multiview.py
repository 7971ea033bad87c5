# SPDX-License-Identifier: Apache-2.0
"""Captures in Multiface layout -> the `multiview_capture` dataset (records.py).

What belongs to a moment (mesh, average texture, head pose) is stored once, in configs
`frames` and `frame_textures`; what belongs to a moment and a camera (crop, H, view,
unwrapped texture) in `views` and `view_textures`. Frames are written first: a frame
whose mesh or average is missing has no views, and a view knows the row of its frame.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from i2z_jax.data import records
from i2z_jax.data.build_options import BuildOptions, MultiviewOptions
from i2z_jax.data.capture_records import (
    Moment,
    ViewsOfMoment,
    encode_frame,
    encode_views,
    matches,
)
from i2z_jax.data.capture_source import SourceCamera, write_source
from i2z_jax.data.capture_topology import topology_of, topology_path, without_topology
from i2z_jax.data.finish import Summary, finish, work_folder
from i2z_jax.data.multiface import Capture, Frame, Layout
from i2z_jax.data.shards import Job, Shard, into_jobs, write_shards
from i2z_jax.data.tfds_builder import adopt
from i2z_jax.errors import InputError
from i2z_jax.geometry.topology import Topology

FRAME_SPLITS = ("train", "test")
VIEW_SPLITS = ("train", "test", "camera", "test_camera")
# Records a shard, about: the 1024 texture of a view is a third of a megabyte.
PER_SHARD = 512


class Chosen(NamedTuple):
    """A capture, and what of it is built."""

    opened: Capture
    cameras: tuple[str, ...]
    topology: Topology | None
    # What decides the records of all its frames.
    files: list[Path | None]


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
    chosen = _chosen(sources, capture)
    moments, gaps = _moments(chosen, capture, options.max_frames)
    if options.strict and gaps:
        raise InputError(gaps[0])
    with work_folder(out, records.MULTIVIEW, options) as work:
        write = functools.partial(_write, chosen, work, options, capture)
        jobs = [j for s in FRAME_SPLITS for j in into_jobs(s, moments[s], PER_SHARD)]
        of_frames, of_views = ["frames", "frame_textures"], ["views"]
        if capture.view_textures:
            of_views.append("view_textures")
        frames = write(of_frames, jobs, encode_frame, _frame_files)
        jobs = _view_jobs(_built(jobs, frames), chosen, capture)
        views = write(of_views, jobs, encode_views, _view_files)
        counts = {
            config: adopt(records.MULTIVIEW, shards, work, splits=splits, config=config)
            for configs, shards, splits in (
                (of_frames, frames, FRAME_SPLITS),
                (of_views, views, VIEW_SPLITS),
            )
            for config in configs
        }
        _write_sources(chosen, work, capture)
        shards = [*frames, *views]
        gaps += [gap for shard in shards for gap in shard.gaps]
        return finish(
            work, records.MULTIVIEW, sources, [options, capture], counts, shards, gaps
        )


def _chosen(roots: Sequence[Path], options: MultiviewOptions) -> list[Chosen]:
    """The captures, opened.

    Raises:
        InputError: no capture, a damaged topology, a filter that matches nothing.
    """
    captures = [Capture(root) for root in roots]
    cameras = [_cameras(opened, options) for opened in captures]
    if options.test_segments != MultiviewOptions.test_segments:  # someone names them
        _require_segments(captures, options.test_segments)
    return [
        Chosen(
            opened,
            names,
            topology_of(opened.paths.root, options),
            _shared_files(opened.paths, options),
        )
        for opened, names in zip(captures, cameras, strict=True)
    ]


def _shared_files(paths: Layout, options: MultiviewOptions) -> list[Path | None]:
    means = [paths.root / name for name in ("tex_mean.png", "vert_mean.bin")]
    return [paths.krt, *means, topology_path(paths, options)]


def _moments(
    chosen: Sequence[Chosen], options: MultiviewOptions, most: int | None
) -> tuple[dict[str, list[Moment]], list[str]]:
    """The frames to build by split, and what is missing from their captures."""
    moments: dict[str, list[Moment]] = {split: [] for split in FRAME_SPLITS}
    gaps = []
    for index, (opened, cameras, topology, _) in enumerate(chosen):
        _ = opened.statistics  # without them nothing is built: not known after hours
        gaps += _absent(opened, cameras)
        if topology is None:
            gaps.append(without_topology(opened.paths.root))
        for frame in _frames(opened, options, most):
            split = "test" if matches(frame.segment, options.test_segments) else "train"
            moments[split].append(Moment(opened.paths.root, index, frame))
    return moments, gaps


def _write(
    chosen: Sequence[Chosen],
    work: Path,
    options: BuildOptions,
    capture: MultiviewOptions,
    configs: Sequence[str],
    jobs: Sequence[Job],
    encode: Callable[..., Iterator[Any]],
    files: Callable[[Sequence[Chosen], Any], list[Path | None]],
) -> list[Shard]:
    """The shards of configs with the same rows."""
    return write_shards(
        jobs,
        functools.partial(encode, options=capture),
        {name: records.features(f"{records.MULTIVIEW}/{name}") for name in configs},
        work,
        workers=options.workers,
        strict=options.strict,
        what=configs[0],
        sources=functools.partial(files, chosen),
    )


def _built(jobs: Sequence[Job], shards: Sequence[Shard]) -> list[tuple[str, Moment]]:
    """Split and moment of each frame that has a record, in the order of the records."""
    return [
        (job.split, moment)
        for job, shard in zip(jobs, shards, strict=True)
        for moment, count in zip(job.items, shard.records, strict=True)
        if count
    ]


def _frame_files(chosen: Sequence[Chosen], moment: Moment) -> list[Path | None]:
    """What decides a frame's record."""
    paths, frame = Layout(moment.root), moment.frame
    own = [paths.mesh(frame), paths.transform(frame), paths.texture(frame)]
    return [*chosen[moment.source].files, *own]


def _view_files(chosen: Sequence[Chosen], views: ViewsOfMoment) -> list[Path | None]:
    """What decides the records of a frame's views."""
    paths, frame = Layout(views.moment.root), views.moment.frame
    images = [paths.image(frame, name) for name in views.cameras]
    textures = [paths.texture(frame, name) for name in views.cameras]
    return [*_frame_files(chosen, views.moment), *images, *textures]


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
    chosen: Sequence[Chosen],
    options: MultiviewOptions,
) -> list[Job]:
    items: dict[str, list[ViewsOfMoment]] = {split: [] for split in VIEW_SPLITS}
    for row, (split, moment) in enumerate(built):
        source = chosen[moment.source]
        there = source.opened.filmed_by(moment.frame.segment)
        names = [name for name in source.cameras if name in there]
        held = [n for n in names if matches(n, options.test_cameras)]
        kept = [n for n in names if n not in held]
        for part, cameras in ((split, kept), (_camera_split(split), held)):
            if cameras:
                items[part].append(ViewsOfMoment(moment, row, tuple(cameras)))
    jobs = []
    for split, views in items.items():
        cameras = max((len(v.cameras) for v in views), default=1)
        jobs += into_jobs(split, views, max(PER_SHARD // cameras, 1), cameras)
    return jobs


def _camera_split(split: str) -> str:
    return "camera" if split == "train" else "test_camera"


def _write_sources(
    chosen: Sequence[Chosen], work: Path, options: MultiviewOptions
) -> None:
    """What views point to by their `source`."""
    for index, (opened, _, topology, _) in enumerate(chosen):
        cameras = [
            SourceCamera(
                name,
                matches(name, options.test_cameras),
                camera.intrinsics,
                camera.camera_from_world,
            )
            for name, camera in opened.cameras.items()
        ]
        folder = work / records.MULTIVIEW / "sources" / str(index)
        write_source(folder, cameras, opened.statistics, topology)
