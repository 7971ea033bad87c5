# SPDX-License-Identifier: Apache-2.0
"""Optional post-processing: temporal smoothing and gap filling.

Both work on poses in the picture (`Track.frame_pose`), whose change over time is the
head's own and not the crop's, and on z. Landmarks that were seen stay as seen. Neither
reaches across a cut: the head of one shot says nothing of the next one's.
"""

import math
from dataclasses import replace

import numpy as np

from i2z_jax.data.box_track import LONGEST_MISS, stretches
from i2z_jax.data.continuity import GAP_STEPS
from i2z_jax.track.result import Status, Track
from i2z_jax.types import Bool, Float, NDArray

# What counts as quick: units a second by which the cutoff rises by SPEED_HZ.
SPEED_HZ = 1.0
LOG_SCALE_UNIT = 0.05
ANGLE_UNIT = 0.1  # rad
SHIFT_UNIT_MM = 10.0
Z_UNIT = 0.5
# Cutoff of the speed's own low-pass, as published.
SPEED_CUTOFF_HZ = 1.0


def latency_s(cutoff_hz: float) -> float:
    """How far a slow motion lags behind: a first-order low-pass's delay, seconds.

    A quick one lags less: the cutoff rises with the speed.
    """
    return 1 / (2 * math.pi * cutoff_hz)


def smoothed(track: Track, cutoff_hz: float) -> Track:
    """One-Euro filter (Casiez et al. 2012) on pose and z; causal, so it lags.

    It starts anew at cuts and after frames without a face.

    Args:
        track: the result of a run.
        cutoff_hz: of a face at rest; lower is smoother and later.
    """
    pose, z = _filterable(track)
    per_mm = float(np.exp(np.nanmedian(pose[:, 0]))) if track.usable.any() else 1.0
    units = np.array([LOG_SCALE_UNIT, *[ANGLE_UNIT] * 3, *[SHIFT_UNIT_MM * per_mm] * 2])
    values = np.concatenate([pose / units, z / Z_UNIT], axis=1)
    usable = track.usable
    starts = track.cut | ~np.append(False, usable[:-1])
    values[usable] = one_euro(
        values[usable], track.time_s[usable], starts[usable], cutoff_hz
    )
    return _refilled(track, values[:, :6] * units, values[:, 6:] * Z_UNIT)


def one_euro(
    values: Float[NDArray, "f c"],
    time_s: Float[NDArray, "f"],
    starts: Bool[NDArray, "f"],
    cutoff_hz: float,
) -> Float[NDArray, "f c"]:
    """The filter on channels whose unit is what counts as quick in a second."""
    result = values.copy()
    speed = np.zeros(values.shape[1])
    for row in range(1, len(values)):
        step = time_s[row] - time_s[row - 1]
        if starts[row] or step <= 0:
            speed = np.zeros_like(speed)
            continue
        raw = (values[row] - result[row - 1]) / step
        speed = speed + _share(SPEED_CUTOFF_HZ, step) * (raw - speed)
        share = _share(cutoff_hz + SPEED_HZ * np.abs(speed), step)
        result[row] = result[row - 1] + share * (values[row] - result[row - 1])
    return result


def interpolated(track: Track) -> Track:
    """Lost frames between two usable ones of a shot, at most `LONGEST_MISS` of them,
    bridged in a straight line and marked; others stay lost.
    """
    good = np.flatnonzero(track.usable)
    shot = np.cumsum(track.cut)
    missed = np.diff(good) - 1
    near = (missed <= LONGEST_MISS) & (np.diff(shot[good]) == 0)
    # An unreadable frame hides a cut, but not a gap in time.
    step = np.median(np.diff(track.time_s)) if len(track) > 1 else 0.0
    near &= np.diff(track.time_s[good]) <= (missed + GAP_STEPS) * step
    # By how many usable frames lie before: no bridge before the first, after the last.
    bridges = np.concatenate([[False], near, [False]])
    gaps = ~track.usable & bridges[np.searchsorted(good, np.arange(len(track)))]
    if not gaps.any():
        return track

    def bridged(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1).copy()
        for column in flat.T:
            times = track.time_s
            column[gaps] = np.interp(times[gaps], times[good], column[good])
        return flat.reshape(values.shape)

    pose, z = _filterable(track)
    status = np.where(gaps, np.uint8(Status.INTERPOLATED), track.status)
    filled = replace(
        track,
        status=status,
        box=bridged(track.box),
        crop_from_image=bridged(track.crop_from_image),
        landmarks=bridged(track.landmarks),
        landmark_confidence=np.where(gaps[:, None], 0, track.landmark_confidence),
        confidence=np.where(gaps, 0, track.confidence),
    )
    return _refilled(filled, bridged(pose), bridged(z))


def _filterable(
    track: Track,
) -> tuple[Float[NDArray, "f 6"], Float[NDArray, "f z"]]:
    """Poses in the picture with log f and, within a shot, angles without jumps of
    2 pi; z."""
    pose = track.frame_pose()
    good = track.usable
    pose[good, 0] = np.log(np.maximum(pose[good, 0], 1e-9))
    for first, last in stretches(track.cut):
        rows = first + np.flatnonzero(good[first:last])
        pose[rows, 1:4] = np.unwrap(pose[rows, 1:4], axis=0)
    return pose, track.z.astype(np.float64)


def _refilled(
    track: Track, pose: Float[NDArray, "f 6"], z: Float[NDArray, "f z"]
) -> Track:
    pose = np.concatenate([np.exp(pose[:, :1]), pose[:, 1:]], axis=1)
    return replace(track.with_frame_pose(pose), z=z.astype(np.float32))


def _share(cutoff_hz: float | NDArray, step_s: float) -> float | NDArray:
    """How much of the new value a first-order low-pass takes."""
    turn = 2 * math.pi * cutoff_hz * step_s
    return turn / (turn + 1)
