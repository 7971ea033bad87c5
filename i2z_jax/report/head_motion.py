# SPDX-License-Identifier: Apache-2.0
"""Where the head is over time, for the scene files (`gltf`, `usd`).

The scene is in metres, x right, y up, z toward the camera; its origin is the middle of
the video frame. H has no depth, so the head stays at z = 0 and distance is scale.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from i2z_jax.geometry.camera import view_from_head
from i2z_jax.track.result import Track
from i2z_jax.types import Float, Int, NDArray

METRES = 1e-3  # the scene's unit, in mm
# Distance of the camera and its clipping planes, metres: a head fits in between.
CAMERA_Z, NEAR, FAR = 1.0, 0.01, 3.0


class HeadMotion(NamedTuple):
    """Keys that are interpolated linearly."""

    time: Float[NDArray, "k"]
    row: Int[NDArray, "k"]  # of the face that is shown, among the usable frames
    rotation: Float[NDArray, "k 4"]  # x, y, z, w
    translation: Float[NDArray, "k 3"]  # metres
    scale: Float[NDArray, "k 3"]
    pixels_per_mm: float  # of the frame, where the scale is 1

    def frame_metres(self, frame_size: Int[NDArray, "2"]) -> Float[NDArray, "2"]:
        """Width and height of the video frame in the scene."""
        return frame_size / self.pixels_per_mm * METRES


def head_motion(track: Track, time: Float[NDArray, "f"], hold: float) -> HeadMotion:
    """Keys of rotation, translation and scale.

    Frames without a face hold the last one that had one. Of frames of one time the
    first is kept. Before a cut an additional key holds the shot's last pose, so that
    nothing slides into the next shot.

    Args:
        track: at least one frame of it is usable.
        time: of all frames, ascending, in the file's unit and precision.
        hold: from the additional key to the first of the next shot, in that unit.
    """
    time, row = _keys(track, time, hold)
    pose = track.frame_pose()[track.usable]
    per_mm = float(np.median(pose[:, 0]))
    return HeadMotion(time, row, *_placed(pose[row], per_mm, track.frame_size), per_mm)


def _keys(
    track: Track, time: Float[NDArray, "f"], hold: float
) -> tuple[Float[NDArray, "k"], Int[NDArray, "k"]]:
    """Strictly increasing times, and the row among the usable frames of each."""
    key = np.flatnonzero(np.diff(time, prepend=-np.inf) > 0)
    time, row = time[key], np.maximum(np.cumsum(track.usable) - 1, 0)[key]
    # Not the cuts themselves: the first frames of a shot may be without a face.
    shot = np.cumsum(track.cut)[track.usable][row]
    jump = np.flatnonzero(np.diff(shot)) + 1
    before = np.minimum(time[jump] - hold, np.nextafter(time[jump], -np.inf))
    fits = before > time[jump - 1]
    jump, before = jump[fits], before[fits]
    return np.insert(time, jump, before), np.insert(row, jump, row[jump - 1])


def _placed(
    pose: Float[NDArray, "k 6"], per_mm: float, frame_size: Int[NDArray, "2"]
) -> tuple[Float[NDArray, "k 4"], Float[NDArray, "k 3"], Float[NDArray, "k 3"]]:
    flip = np.diag([1.0, -1.0, -1.0])
    turned = Rotation.from_matrix(flip @ np.asarray(view_from_head(pose))).as_quat()
    # q and -q turn alike; neighbours of one sign interpolate the short way.
    signs = np.cumprod(
        np.where(np.sum(turned[1:] * turned[:-1], axis=1) < 0, -1.0, 1.0)
    )
    turned[1:] *= signs[:, None]
    middle = (pose[:, 4:6] - frame_size / 2) / per_mm * METRES
    place = np.stack([middle[:, 0], -middle[:, 1], np.zeros(len(pose))], axis=-1)
    return turned, place, np.repeat(pose[:, :1] / per_mm, 3, axis=1)
