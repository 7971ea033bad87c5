# SPDX-License-Identifier: Apache-2.0
"""Tracks that were never measured, of poses that a test chooses."""

import numpy as np

from i2z_jax.track.result import Status, Track


def track(pose, status=None, crop=None, cuts=()):
    """A track whose crops are half the size of what they show."""
    frames = len(pose)
    crops = np.tile([[0.5, 0, -10.0], [0, 0.5, -20.0]], (frames, 1, 1))
    status = np.zeros(frames, np.uint8) if status is None else np.uint8(status)
    value = Track(
        video="clip.mp4", frame_size=np.array([160, 120]), crop_size=64,
        distance_mm=np.inf, complete=True,
        time_s=np.arange(frames) / 30, status=status, box=np.zeros((frames, 4)),
        crop_from_image=crops if crop is None else crop, z=np.float32(pose[:, :3]),
        pose=np.float32(pose), landmarks=np.zeros((frames, 68, 2), np.float32),
        landmark_confidence=np.ones((frames, 68), np.float32),
        cut=np.isin(np.arange(frames), [0, *cuts]), duplicate=np.zeros(frames, bool),
        confidence=np.ones(frames, np.float32),
    )  # fmt: skip
    lost = status > Status.INTERPOLATED
    for array in (value.z, value.pose, value.crop_from_image, value.landmarks):
        array[lost] = np.nan
    return value


STILL = np.tile([0.006, 0.1, -0.3, 0.05, 0.2, -0.1], (90, 1))
