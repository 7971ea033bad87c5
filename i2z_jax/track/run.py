# SPDX-License-Identifier: Apache-2.0
"""Runs the tracking passes; finished work is kept on disk.

    WORK/settings.json     a run with others does not go on from here
    WORK/faces-00000.npz   what the detector saw in the first frames, and so on
    WORK/scan.npz          first pass
    WORK/places.npz        second pass
    WORK/rows-00000.npz    what the network said of the first frames, and so on

Memory does not grow with the video but for a few numbers a frame. An interrupted run
keeps the frames that are done; the same command goes on from there. A whole run keeps
them for other outputs.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from i2z_jax import console
from i2z_jax.data.face_detector import FaceDetector
from i2z_jax.data.framing import BoxSource
from i2z_jax.data.row_files import RowFiles, read_whole
from i2z_jax.data.video_analysis import Scan, scan
from i2z_jax.errors import InputError
from i2z_jax.files import write_npz
from i2z_jax.geometry.crop import apply_affine, invert
from i2z_jax.geometry.topology import landmark_points
from i2z_jax.lock import LOCK, locked
from i2z_jax.settings import remember
from i2z_jax.track import source
from i2z_jax.track.follow import Places, crop_maps, cut, follow, squares
from i2z_jax.track.networks import Networks
from i2z_jax.track.result import Status, Track
from i2z_jax.types import Float, NDArray, UInt8

SETTINGS = "settings.json"
# Names of what the first and the last pass have done (`RowFiles`).
FACES, ROWS = "faces", "rows"


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


@contextmanager
def hold(out: Path) -> Iterator[None]:
    """Keep a second run out of the folder of the results, which goes if it is new and
    stays empty.

    Raises:
        InputError: another run is at work here, or the folder cannot be written.
    """
    is_new = not out.exists()
    with locked(out, busy="another run is tracking here", option="--out"):
        try:
            yield
        finally:
            (out / LOCK).unlink(missing_ok=True)
            if is_new and not any(out.iterdir()):
                out.rmdir()


def begin(work: Path, settings: dict[str, Any]) -> None:
    """Make the folder of a run, or see that it is one with the same settings.

    Raises:
        InputError: the folder holds a run with other settings.
    """
    try:
        differ = remember(work / SETTINGS, settings)
    except InputError:
        if not has_begun(work):  # the disk is full: leave no empty folder in the way
            _clear(work)
        raise
    if differ:
        raise InputError(
            "a run is here that was started with another " + ", ".join(differ),
            where=work.parent,
            fix="give what it had, or --overwrite to start anew",
        )


def run(
    networks: Networks,
    path: Path,
    work: Path,
    options: Options,
    detect: FaceDetector,
) -> None:
    """Do what is not done yet; `collect` reads the result.

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

    scanned = _kept(work / "scan.npz", Scan, first)
    places = _kept(work / "places.npz", Places, second)
    _predict(networks, path, work, scanned, places, options)


def has_begun(work: Path) -> bool:
    """Whether a run has begun in the folder; it may have ended."""
    return (work / SETTINGS).exists()


def set_aside(work: Path) -> None:
    """Make room for a new run. The earlier one, whose results are there, is kept until
    it is forgotten or taken back."""
    if has_begun(work) and not has_begun(_earlier(work)):
        os.replace(work, _earlier(work))
    _clear(work)


def forget_earlier(work: Path) -> None:
    """Now that there are results of the new run."""
    _clear(_earlier(work))


def take_back(work: Path) -> None:
    """The earlier run, if the new one has not begun or was abandoned."""
    if has_begun(_earlier(work)) and not has_begun(work):
        os.replace(_earlier(work), work)


def abandon(work: Path) -> None:
    """Remove the work folder of a run that finished no frame."""
    if not any(work.glob(_parts(ROWS))):
        _clear(work)
        take_back(work)


def _earlier(work: Path) -> Path:
    return work.with_name(f"{work.name}.earlier")


def _clear(work: Path) -> None:
    """Remove a run's own files. Its settings go first: what a kill leaves of the others
    is no run."""
    if work.is_dir():
        for files in (SETTINGS, "scan.npz", "places.npz", *map(_parts, (FACES, ROWS))):
            for path in list(work.glob(files)):
                path.unlink()
        if not any(work.iterdir()):
            work.rmdir()


def _parts(name: str) -> str:
    return f"{name}-*.npz"


def collect(
    work: Path,
    video: Path,
    crop_size: int,
    *,
    min_confidence: float,
    distance_mm: float,
) -> Track | None:
    """What a run has left in its folder so far; None if not one frame is done.

    Args:
        work: the run's folder.
        video: what is tracked.
        crop_size: side of the crops, px.
        min_confidence: frames with less of it are lost.
        distance_mm: of the camera from the head.
    """
    rows = RowFiles(work, ROWS).read()
    if not rows:
        return None
    first, second = (read_whole(work / f"{name}.npz") for name in ("scan", "places"))
    if first is None or second is None:
        return None
    scanned, places = Scan(**first), Places(**second)
    done = len(rows["z"])
    placed = np.isfinite(places.square[:done, 0])
    # The network was shown a black crop there: what it said is no confidence.
    rows["landmark_confidence"][~(placed & scanned.readable[:done])] = np.nan
    confidence = rows["landmark_confidence"].mean(axis=1)
    doubtful = confidence < min_confidence  # NaN, without landmarks, is not
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
        video=video.name,
        frame_size=scanned.size,
        crop_size=crop_size,
        distance_mm=distance_mm,
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
