# SPDX-License-Identifier: Apache-2.0
"""What the user named -> frames: a video, a folder, one picture, or a camera.

A camera is recorded first and tracked then: no frame is dropped because a network is
slow, and the run can be repeated.
"""

import hashlib
import itertools
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from i2z_jax import console
from i2z_jax.data.images import SUFFIXES, read_picture
from i2z_jax.data.video import Frame, frame_count, read_frames
from i2z_jax.data.video_writer import write_video
from i2z_jax.errors import InputError
from i2z_jax.files import versions, visible, write_aside
from i2z_jax.types import NDArray, UInt8


def is_camera(source: str) -> bool:
    """Whether it is a camera's index and no file of that name."""
    return source.isdigit() and not Path(source).exists()


def is_picture(path: Path) -> bool:
    """Whether it is one picture."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def state_of(path: Path) -> str:
    """A fingerprint that changes when the file, or a picture of the folder, does."""
    files = [path]
    if path.is_dir():
        files = [p for p in visible(path) if p.suffix.lower() in SUFFIXES]
    found = list(zip([file.name for file in files], versions(*files), strict=True))
    return hashlib.sha256(repr(found).encode()).hexdigest()[:16]


def frames(path: Path, limit: int | None = None) -> Iterator[Frame]:
    """The upright RGB frames of a video, a folder or a picture, in order.

    Raises:
        InputError: nothing there, or not readable as what it seems to be.
    """
    if is_picture(path):
        return iter([Frame(0, 0.0, read_picture(path, upright=True))])
    _refuse_nothing(path)
    return read_frames(path, limit)


def count(path: Path, limit: int | None = None) -> int | None:
    """About how many frames there are, for progress.

    None if the container does not say.

    Raises:
        InputError: as `frames`.
    """
    _refuse_nothing(path)
    return 1 if is_picture(path) else frame_count(path, limit)


def last_recording(folder: Path) -> Path | None:
    """The newest recording of a camera in a folder; None if there is none."""
    made = folder.glob("camera*.mp4")
    return max(made, key=lambda path: path.stat().st_mtime_ns, default=None)


def next_recording(folder: Path) -> Path:
    """Where another recording goes: `camera.mp4`, `camera2.mp4`, ...

    None takes the place of another, which cannot be made again.
    """
    names = (
        f"camera{number}.mp4" for number in itertools.chain([""], itertools.count(2))
    )
    return next(folder / name for name in names if not (folder / name).exists())


def record_camera(index: int, path: Path, limit: int | None = None) -> Path:
    """Record a camera until Ctrl-C, or for `limit` frames, to an mp4.

    For the main thread, which is the one that Ctrl-C reaches.

    Raises:
        InputError: no such camera, or it gives no picture.
    """
    camera = _opened(index)
    try:
        if not camera.isOpened():
            raise InputError(
                "cannot be opened: there is none, or it is in use",
                where=f"camera {index}",
                fix="try another index, close what uses it, or give a video file",
            )
        with _ctrl_c() as asked, write_aside(path) as aside:
            if not write_video(aside, _live(camera, limit, asked), crf=16.0):
                raise InputError("the camera gives no picture", where=f"camera {index}")
    finally:
        camera.release()
    return path


def _opened(index: int) -> cv2.VideoCapture:
    """The camera; what OpenCV says of it is shown where that of other libraries is."""
    before = cv2.utils.logging.getLogLevel()
    if not logging.getLogger("absl").isEnabledFor(logging.WARNING):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(index)
    finally:
        cv2.utils.logging.setLogLevel(before)


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Ctrl-C sets the event until the block ends: raised wherever the encoder is, it
    would cost the recording."""
    asked = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _live(
    camera: cv2.VideoCapture, limit: int | None, asked: threading.Event
) -> Iterator[tuple[float, UInt8[NDArray, "h w 3"]]]:
    start, number = time.perf_counter(), 0
    console.err.print("recording; Ctrl-C ends the recording and starts tracking")
    while not asked.is_set() and (limit is None or number < limit):
        good, image = camera.read()
        if not good:
            return
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        height, width = (side // 2 * 2 for side in rgb.shape[:2])
        yield time.perf_counter() - start, rgb[:height, :width]
        number += 1


def _refuse_nothing(path: Path) -> None:
    if not path.exists():
        raise InputError(
            "not found",
            where=path,
            expected="a video, a folder of frames, a picture or a camera's index",
        )
