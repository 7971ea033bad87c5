# SPDX-License-Identifier: Apache-2.0
"""Runs the tracking passes; finished work is kept on disk (`work_folder`).

Memory does not grow with the video but for a few numbers a frame. An interrupted run
keeps the frames that are done; the same command goes on from there. A whole run keeps
them for other outputs.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from i2z_jax import console
from i2z_jax.data.face_detector import FaceDetector
from i2z_jax.data.framing import BoxSource
from i2z_jax.data.row_files import RowFiles, read_whole
from i2z_jax.data.video_analysis import Scan, scan
from i2z_jax.files import write_npz
from i2z_jax.geometry.camera import ARM_LENGTH_MM
from i2z_jax.geometry.crop import apply_affine, invert
from i2z_jax.geometry.topology import landmark_points
from i2z_jax.track import source
from i2z_jax.track.follow import Places, crop_maps, cut, follow, squares
from i2z_jax.track.networks import Networks
from i2z_jax.track.result import Status, Track
from i2z_jax.track.work_folder import FACES, PLACES, ROWS, SCAN
from i2z_jax.types import Float, NDArray, UInt8


@dataclass(frozen=True)
class Options:
    """What is tracked, and what is believed."""

    face: int = 1
    max_frames: int | None = None
    min_confidence: float = 0.2
    threads: int = 2
    # Boxes from elsewhere (a row a frame), and what they are boxes of.
    boxes: Float[NDArray, "g 4"] | None = None
    box_source: BoxSource = "detector"
    # From the camera to the head.
    distance_mm: float = ARM_LENGTH_MM


def run(
    networks: Networks,
    path: Path,
    work: Path,
    options: Options,
    detect: FaceDetector,
) -> Track:
    """Do what is not done yet.

    Args:
        networks: of the tracker.
        path: what is tracked.
        work: the run's folder, which has begun.
        options: the same as when it began.
        detect: finds faces.

    Raises:
        InputError: unreadable video, no face.
        KeyboardInterrupt: after what was done has been written.
    """
    clock, system = networks.clock, networks.system

    def first() -> Scan:
        return scan(
            path,
            clock.each("decode", source.frames(path, options.max_frames)),
            detect,
            total=source.count(path, options.max_frames),
            face=options.face,
            given=options.boxes,
            threads=options.threads,
            kept=RowFiles(work, FACES),
            clock=clock,
        )

    def second() -> Places:
        size = networks.size
        if not networks.sees_landmarks or system.topology.landmark_faces is None:
            square = squares(scanned.box, options.box_source, size)
            return Places(square, np.zeros(len(square), bool))
        vertices = np.asarray(system.dam.statistics.vert_mean[...])
        return follow(
            path,
            scanned,
            networks,
            np.asarray(landmark_points(system.topology, vertices)),
            box_source=options.box_source,
            min_confidence=options.min_confidence,
            limit=options.max_frames,
            clock=clock,
        )

    scanned = _kept(work / SCAN, Scan, first)
    places = _kept(work / PLACES, Places, second)
    _predict(networks, path, work, scanned, places, options)
    track = collect(path, work, options, networks.size)
    if track is None:
        raise AssertionError("a run that ended has rows")
    return track


def collect(path: Path, work: Path, options: Options, crop_size: int) -> Track | None:
    """What a run has found so far; None if not one frame is done.

    Args:
        path: what is tracked.
        work: the run's folder.
        options: of the run.
        crop_size: side of the crops, px.
    """
    rows = RowFiles(work, ROWS).read()
    if not rows:
        return None
    first, second = (read_whole(work / name) for name in (SCAN, PLACES))
    if first is None or second is None:
        return None
    scanned, places = Scan(**first), Places(**second)
    done = len(rows["z"])
    placed = np.isfinite(places.square[:done, 0])
    # The network was shown a black crop there: what it said is no confidence.
    rows["landmark_confidence"][~(placed & scanned.readable[:done])] = np.nan
    confidence = rows["landmark_confidence"].mean(axis=1)
    doubtful = confidence < options.min_confidence  # NaN, without landmarks, is not
    status = np.where(scanned.found[:done], Status.TRACKED, Status.FOLLOWED)
    status = np.where(placed & ~doubtful, status, Status.LOST)
    status = np.where(scanned.readable[:done], status, Status.UNREADABLE)
    lost = status > Status.INTERPOLATED
    # The frame after an unreadable one counts as cut; whether it is, nobody knows.
    continuity_known = scanned.readable & np.append(True, scanned.readable[:-1])
    maps = crop_maps(places.square[:done], crop_size)
    landmarks = apply_affine(np.asarray(invert(maps)), rows["landmarks"].astype(float))
    values = {
        "crop_from_image": maps,
        "z": rows["z"],
        "pose": rows["pose"],
        "landmarks": np.asarray(landmarks, np.float32),
    }
    for value in values.values():
        value[lost] = np.nan
    return Track(
        video=path.name,
        frame_size=scanned.size,
        crop_size=crop_size,
        distance_mm=options.distance_mm,
        complete=done == len(scanned.box),
        time_s=scanned.time_s[:done],
        status=status.astype(np.uint8),
        cut=(scanned.cut & continuity_known)[:done],
        duplicate=scanned.duplicate[:done],
        box=scanned.box[:done],
        landmark_confidence=rows["landmark_confidence"],
        confidence=confidence,
        **values,
    )


def vertices_of(
    networks: Networks, track: Track
) -> Iterator[tuple[Track, Float[NDArray, "k n 3"]]]:
    """The decoded mesh of every frame, part by part; NaN where there is no face."""
    for start in range(0, len(track), networks.batch_size):
        part = track[start : start + networks.batch_size]
        vertices = networks.vertices(np.nan_to_num(part.z))
        yield part, np.where(part.usable[:, None, None], vertices, np.nan)


def _predict(
    networks: Networks,
    path: Path,
    work: Path,
    scanned: Scan,
    places: Places,
    options: Options,
) -> None:
    clock, size = networks.clock, networks.size
    rows = RowFiles(work, ROWS)
    done, total = len(rows.read().get("z", ())), len(scanned.box)
    if done == total:
        return
    waiting: list[UInt8[NDArray, "s s 3"]] = []

    def predict() -> None:
        crops = np.stack(waiting)
        waiting.clear()
        out = networks.predict(crops)
        rows.add(
            len(crops),
            z=out.z,
            pose=out.pose,
            landmarks=out.seen.points,
            landmark_confidence=out.seen.confidence,
        )

    frames = (
        frame
        for frame in clock.each("decode", source.frames(path, options.max_frames))
        if done <= frame.number < total
    )
    with closing(rows):
        for frame in console.progress(
            frames, f"{path.name}: network", total=total - done
        ):
            with clock.stage("crop", 1):
                waiting.append(cut(frame.image, places.square[frame.number], size))
            if len(waiting) == networks.batch_size:
                predict()
        if waiting:
            predict()


def _kept(path: Path, kind: Any, make: Any) -> Any:
    """A pass's result, from the disk or made now."""
    found = read_whole(path)
    if found is None:
        found = make()._asdict()
        write_npz(path, found)
    return kind(**found)
