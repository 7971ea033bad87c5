# SPDX-License-Identifier: Apache-2.0
"""Second pass: the crops that training would have cut, by the face's own landmarks.

A detector's box says roughly where a face is. The landmark stream looks into that
box; the average face, posed by least squares to what it sees, gives the box of its 68
landmarks, and that is what crops are framed by (`data/framing.py`). Frames are
independent where there is a box, so they go through the network in batches. Only
where the detector is blind (a profile, a hand) a frame is looked for from the one
before, one by one, until the landmarks' confidence falls; then the next detection
takes over. At the end the crops of each shot are smoothed over time, from both sides:
nothing lags.

A system without a landmark stream or map keeps the detector's boxes.
"""

import itertools
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from i2z_jax import console
from i2z_jax.data import framing
from i2z_jax.data.box_track import box_step, smooth
from i2z_jax.data.video import Frame
from i2z_jax.data.video_analysis import Scan
from i2z_jax.data.warp import sample_crop
from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.crop import (
    apply_affine,
    box_of_points,
    compose,
    crop_from_box,
    invert,
    pixels_from_unit,
    unit_from_pixels,
)
from i2z_jax.geometry.fit import fit_weak_pose
from i2z_jax.stopwatch import Stopwatch
from i2z_jax.track import source
from i2z_jax.track.networks import CropLandmarks
from i2z_jax.types import Bool, Float, NDArray, UInt8

# Landmarks move and resize a crop by this share of its side at most, at once.
BELIEVED_STEP = 0.3
# Landmarks that no pose of the average face comes nearer to than this (RMS, [-1, 1] of
# the crop) are no face's: other faces differ by half of it, open mouths included.
BELIEVED_RESIDUAL = 0.12
# Nor are those of a head that spans a tenth of its crop: landmarks in one spot fit a
# head without size. [-1, 1] of the crop per mm.
SMALLEST_SCALE = 1e-3


@runtime_checkable
class LandmarkStream(Protocol):
    """What sees landmarks in crops (`Networks`)."""

    size: int
    batch_size: int

    def landmarks(self, crops: UInt8[NDArray, "k h w 3"]) -> CropLandmarks: ...


class Places(NamedTuple):
    """Where the face is, a row a frame."""

    # The square of the picture that is the crop, px; NaN: no face.
    square: Float[NDArray, "f 4"]
    # Landmarks of this frame stand behind the square.
    seen: Bool[NDArray, "f"]


def follow(
    path: Path,
    scan: Scan,
    stream: LandmarkStream,
    average: Float[NDArray, "68 3"],
    *,
    box_source: framing.BoxSource = "detector",
    min_confidence: float,
    limit: int | None = None,
    clock: Stopwatch,
) -> Places:
    """Refine the boxes of the first pass, and go on where it saw nothing.

    Args:
        path: as scanned.
        scan: the first pass.
        stream: the landmark stream.
        average: landmarks of the average face, mm, head space.
        box_source: what the boxes of the scan are boxes of.
        min_confidence: mean height of the 68 peaks above which they are believed.
        limit: as scanned.
        clock: gets `decode` and `crop`.
    """
    rough = squares(scan.box, box_source, stream.size)
    own = np.full_like(rough, np.nan)
    frames = clock.each("decode", source.frames(path, limit))
    waiting: list[Frame] = []

    def look(frames: list[Frame], where: Float[NDArray, "k 4"]) -> None:
        with clock.stage("crop", len(frames)):
            crops = [
                cut(frame.image, square, stream.size)
                for frame, square in zip(frames, where, strict=True)
            ]
        seen = stream.landmarks(np.stack(crops))
        for frame, square, points, confidence in zip(frames, where, *seen, strict=True):
            if confidence.mean() >= min_confidence:
                better = refined(points, square, average, stream.size)
                if box_step(square, better) <= BELIEVED_STEP:
                    own[frame.number] = better

    def flush() -> None:
        if waiting:
            look(waiting, rough[[frame.number for frame in waiting]])
            waiting.clear()

    for frame in console.progress(
        frames, f"{path.name}: landmarks", total=len(scan.box)
    ):
        row = frame.number
        if frame.image is None:
            continue
        if np.isfinite(rough[row, 0]):
            waiting.append(frame)
            if len(waiting) == stream.batch_size:
                flush()
        elif row and not scan.cut[row]:
            flush()
            if np.isfinite(own[row - 1, 0]):
                look([frame], own[row - 1 : row])
    flush()
    seen = np.isfinite(own[:, 0])
    return Places(_steady(np.where(seen[:, None], own, rough), scan.cut), seen)


def squares(
    boxes: Float[NDArray, "f 4"], box_source: framing.BoxSource, size: int
) -> Float[NDArray, "f 4"]:
    """The part of the picture that belongs to each box as a crop, px."""
    rows = [_square(framing.crop_for_box(box, box_source, size), size) for box in boxes]
    return np.stack(rows)


def crop_maps(square: Float[NDArray, "*b 4"], size: int) -> Float[NDArray, "*b 2 3"]:
    """`crop_from_image` of squares of the picture."""
    return np.asarray(crop_from_box(square, size))


def cut(
    image: UInt8[NDArray, "h w 3"] | None, square: Float[NDArray, "4"], size: int
) -> UInt8[NDArray, "s s 3"]:
    """The crop of a square; black where there is no picture."""
    if image is None or not np.isfinite(square).all():
        return np.zeros((size, size, 3), np.uint8)
    return sample_crop(image, crop_maps(square, size), size)


def refined(
    points: Float[NDArray, "68 2"],
    square: Float[NDArray, "4"],
    average: Float[NDArray, "68 3"],
    size: int,
) -> Float[NDArray, "4"]:
    """The square that frames the average face where its landmarks are seen, px; NaN
    for landmarks that no pose explains.

    Args:
        points: px of the crop of `square`.
        square: px of the picture.
        average: mm, head space.
        size: side of the crop, px.
    """
    unit = np.asarray(unit_from_pixels(points.astype(float), size))
    try:
        pose, residual = fit_weak_pose(average.astype(float), unit)
    except np.linalg.LinAlgError:  # all of them in one spot: that is no face
        return np.full(4, np.nan)
    pose = np.asarray(pose)
    if not (residual < BELIEVED_RESIDUAL and pose[0] > SMALLEST_SCALE):
        return np.full(4, np.nan)
    posed = np.asarray(project_weak(pose, average.astype(float)))[:, :2]
    box = np.asarray(box_of_points(np.asarray(pixels_from_unit(posed, size))))
    moved = framing.crop_for_box(box, "landmarks", size)
    return _square(np.asarray(compose(moved, crop_maps(square, size))), size)


def _square(crop_from_image: Float[NDArray, "2 3"], size: int) -> Float[NDArray, "4"]:
    corners = np.array([[0.0, 0.0], [size, size]])
    inverse = np.asarray(invert(crop_from_image))
    return np.asarray(apply_affine(inverse, corners)).reshape(4)


def _steady(
    square: Float[NDArray, "f 4"], starts: Bool[NDArray, "f"]
) -> Float[NDArray, "f 4"]:
    """Smoothed over time within each unbroken stretch."""
    there = np.isfinite(square[:, 0])
    edges = starts | np.concatenate([[True], there[1:] != there[:-1]])
    bounds = [*np.flatnonzero(edges).tolist(), len(square)]
    result = square.copy()
    for a, b in itertools.pairwise(bounds):
        if there[a]:
            result[a:b] = smooth(np.arange(b - a), square[a:b], np.arange(b - a))
    return result
