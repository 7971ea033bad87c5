# SPDX-License-Identifier: Apache-2.0
"""`i2z track`: a real video -> z, pose and landmarks; overlay, mesh, page."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from i2z_jax import console
from i2z_jax.data.workers import core_count
from i2z_jax.errors import InputError, require, require_at_least
from i2z_jax.files import FULL, named, require_folder
from i2z_jax.geometry.camera import ARM_LENGTH_MM, nearness_of
from i2z_jax.lock import LOCK
from i2z_jax.wording import counted


@dataclass(frozen=True)
class Config:
    """Track a face through a video; docs/track.md describes what is left in OUT.

    Ctrl-C keeps what is done, and the same command goes on from there. track.npz has
    the frames that went through the network by then; its `complete` is false. After a
    whole run, the same command with other outputs makes these without tracking again.
    """

    # Video file, folder of frames, picture, or a camera's index. A camera is
    # recorded to OUT/camera.mp4 (camera2.mp4, ...: no recording is replaced) until
    # Ctrl-C, then tracked.
    video: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="VIDEO")]
    # What `i2z train regress` or `i2z adapt` left in WORKDIR/system.
    checkpoint: Path
    # Folder for track.npz, overlay.mp4, mesh.glb and report.html.
    out: Path
    # Which face: 1 is the largest, 2 the next.
    face: int = 1
    # Boxes or 68 landmarks for each frame (.npz, .csv) in the detector's place.
    boxes: Path | None = None
    # From the camera to the head, mm, as in `i2z adapt`; inf: no perspective.
    distance_mm: float = ARM_LENGTH_MM
    # Stop after this many frames.
    max_frames: int | None = None
    # Frames whose mean landmark peak (0 to 1) is lower count as lost.
    min_confidence: float = 0.2
    # Cutoff of a One-Euro filter on pose and z, Hz; off by default. A slow motion
    # then lags 1 / (2 pi cutoff) s: 0.16 s at 1 Hz, 0.04 s at 4 Hz.
    smooth: float | None = None
    # Bridge up to 45 lost frames between two others of a shot; they are marked.
    interpolate: bool = False
    # Also store the vertices of every frame in track.npz (88 kB a frame at 7306).
    vertices: bool = False
    # Also write a mesh file for every frame to OUT/meshes.
    meshes: Literal["obj", "ply"] | None = None
    # Also fit the weights of these blend shapes, such as ARKit's 52, to every frame: a
    # folder with neutral.obj and an OBJ for each, in the mesh's vertex order.
    blendshapes: Path | None = None
    # Also write mesh.usdz, the moving face in OpenUSD with the vertices of every frame
    # (88 kB a frame at 7306; needs usd-core).
    usd: bool = False
    # Frames that go through the networks together.
    batch_size: int = 8
    # What the networks compute in.
    dtype: Literal["float32", "bfloat16"] = "float32"
    # Threads of the detector. Default: all cores.
    workers: int = field(default_factory=core_count)
    # Start anew. What an earlier run left in OUT stays until there are new results.
    overwrite: bool = False


def run(config: Config) -> None:
    """Passes over the video, then everything that is made from the result."""
    from i2z_jax.track import work_folder

    _check_options(config)
    with work_folder.hold(config.out):
        is_known = work_folder.has_begun(config.out)
        _refuse_foreign(config.out, ours=is_known or config.overwrite)
        _track(config)


def _track(config: Config) -> None:
    import numpy as np

    from i2z_jax.data.box_file import read_boxes
    from i2z_jax.data.face_detector import opencv_detector
    from i2z_jax.geometry.blendshapes import read_blend_shapes
    from i2z_jax.report.track_outputs import OutputOptions, write_outputs
    from i2z_jax.stopwatch import Stopwatch
    from i2z_jax.system import load_system
    from i2z_jax.track import run as tracking
    from i2z_jax.track import work_folder
    from i2z_jax.track.networks import Networks

    system = load_system(config.checkpoint, dtype=config.dtype)
    blendshapes = None
    if config.blendshapes is not None:
        face = np.asarray(system.dam.statistics.vert_mean[...], float)
        blendshapes = read_blend_shapes(config.blendshapes, face)
        if still := blendshapes.still:
            console.err.print(f"without an effect on this mesh: {', '.join(still)}")
    boxes, box_source = None, "detector"
    if config.boxes is not None:
        boxes, box_source = read_boxes(config.boxes)
    video = _video(config)
    work = work_folder.choose(config.out, anew=config.overwrite)
    options = tracking.Options(
        face=config.face,
        max_frames=config.max_frames,
        min_confidence=config.min_confidence,
        threads=config.workers,
        boxes=boxes,
        box_source=box_source,
        distance_mm=config.distance_mm,
    )
    clock = Stopwatch()
    networks = Networks(system, config.batch_size, clock)
    work_folder.begin(work, _settings(config, video))
    outputs = OutputOptions(
        smooth_hz=config.smooth,
        interpolate=config.interpolate,
        vertices=config.vertices,
        meshes=config.meshes,
        blendshapes=blendshapes,
        usd=config.usd,
    )

    def written(track, **how):
        track = write_outputs(networks, track, video, config.out, outputs, **how)
        work_folder.settle(config.out)
        return track

    try:
        track = tracking.run(networks, video, work, options, opencv_detector)
    except KeyboardInterrupt:
        track = tracking.collect(video, work, options, networks.size)
        kept = f"{work} has what was done"
        if track is not None and not track.complete:
            written(track, only_values=True)
            done = counted(len(track), "frame")
            kept = f"{config.out / 'track.npz'} has {done} so far"
        less = " without --overwrite" if config.overwrite else ""
        console.err.print(f"{kept}; the same command{less} goes on from there")
        raise
    except InputError as error:
        # On a full disk what was found is worth keeping.
        if getattr(error.__cause__, "errno", None) not in FULL:
            work_folder.abandon(work)
        raise
    _say(config, written(track), clock)


def _check_options(config: Config) -> None:
    require_at_least(
        config, {"face": 1, "batch_size": 1, "workers": 1, "max_frames": 1}
    )
    smooth, confidence = config.smooth, config.min_confidence
    if smooth is not None:
        require(0 < smooth < math.inf, "smooth", "above 0, Hz", smooth)
    require(0 <= confidence <= 1, "min_confidence", "0 to 1", confidence)
    nearness_of(config.distance_mm)  # says so if a camera cannot be so near
    if config.blendshapes is not None:
        require_folder(config.blendshapes, "a folder of blend shapes, *.obj")
    if config.usd:
        try:
            import pxr  # noqa: F401
        except ImportError as error:
            raise InputError(
                "--usd writes OpenUSD and usd-core is not installed",
                fix="pip install '.[usd]' in a checkout",
            ) from error


def _refuse_foreign(out: Path, ours: bool) -> None:
    """See that a held OUT is new, ours to go on with, or to be replaced."""
    if not ours and any(p.name != LOCK for p in out.iterdir()):
        raise InputError(
            "already exists", where=out, fix="choose another folder or --overwrite"
        )


def _video(config: Config) -> Path:
    """What is tracked; a camera is recorded for it, unless there is a recording."""
    from i2z_jax.data.video import passed_over, refuse_address
    from i2z_jax.track import source

    video = named(Path(config.video))
    refuse_address(video)
    if source.is_camera(config.video):
        recorded = source.last_recording(config.out)
        if recorded is not None and not config.overwrite:
            console.err.print(f"goes on with {recorded}; --overwrite records anew")
        else:
            recorded = source.next_recording(config.out)
            source.record_camera(int(config.video), recorded, config.max_frames)
        video = recorded
    elif not video.exists():
        raise InputError(
            "not found",
            where=video,
            expected="a video, a folder of frames, a picture or a camera's index",
        )
    if stills := passed_over(video):
        console.err.print(f"{video}: passed over are {stills}")
    return video


def _settings(config: Config, video: Path) -> dict:
    """What a run that is gone on with must have in common with its first call."""
    from i2z_jax.data.video import READER
    from i2z_jax.track.source import state_of

    return {
        # Of the files in `work`, and of what reads the video.
        "version": f"4.{READER}",
        "video": str(video.resolve()),
        "video_file": state_of(video),
        "checkpoint": str(config.checkpoint.resolve()),
        "checkpoint_changed": (config.checkpoint / "i2znet").stat().st_mtime_ns,
        "face": config.face,
        "boxes": str(config.boxes and config.boxes.resolve()),
        "boxes_file": state_of(config.boxes) if config.boxes else "",
        "max_frames": config.max_frames,
        "min_confidence": config.min_confidence,
        "dtype": config.dtype,
    }


def _say(config: Config, track, clock) -> None:
    from i2z_jax.track.result import Status

    for status in Status:
        if count := int((track.status == status).sum()):
            console.out.print(f"{status.name.lower():<14}{counted(count, 'frame'):>14}")
    for stage, seconds in clock.seconds.items():
        fps = clock.fps(stage)
        speed = "" if fps is None else f"{fps:>9.1f} frames/s"
        console.out.print(f"{stage:<14}{seconds:>9.2f} s{speed}")
    console.out.print(str(config.out / "report.html"))
