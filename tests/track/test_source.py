# SPDX-License-Identifier: Apache-2.0
"""What frames are made of: a photo, a camera that is recorded until Ctrl-C."""

import signal

import cv2
import numpy as np
import pytest

from i2z_jax.data.video import read_frames
from i2z_jax.data.video_writer import write_video
from i2z_jax.track import source
from tests.data.clips import gradient, write_clip, write_photo


@pytest.fixture
def camera(tmp_path, monkeypatch):
    """A clip of 40 frames in a camera's place."""
    frames = [gradient(shift=i) for i in range(40)]
    clip = cv2.VideoCapture(str(write_clip(tmp_path / "clip.mp4", frames)))
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: clip)


def test_ctrl_c_ends_a_recording_and_keeps_it(camera, tmp_path, monkeypatch):
    def interrupted(path, frames, **options):
        """The signal comes when the encoder is at work, as it mostly does."""

        def until():
            for number, frame in enumerate(frames):
                if number == 5:
                    signal.raise_signal(signal.SIGINT)
                yield frame

        return write_video(path, until(), **options)

    monkeypatch.setattr(source, "write_video", interrupted)
    before = signal.getsignal(signal.SIGINT)
    path = source.record_camera(0, tmp_path / "camera.mp4")
    recorded = list(read_frames(path))
    assert len(recorded) == 6
    # The camera gives BGR.
    difference = recorded[0].image.astype(int) - gradient()
    assert np.abs(difference).mean() < 5
    assert signal.getsignal(signal.SIGINT) is before


def test_a_recording_has_the_frames_asked_for(camera, tmp_path):
    path = source.record_camera(0, tmp_path / "camera.mp4", limit=3)
    assert len(list(read_frames(path))) == 3


def test_a_photo_of_a_phone_is_upright(tmp_path):
    (frame,) = source.frames(write_photo(tmp_path / "photo.jpg", gradient()))
    assert frame.image.shape == (64, 96, 3)
    assert np.abs(frame.image.astype(int) - gradient()).mean() < 3
