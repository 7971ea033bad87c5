# SPDX-License-Identifier: Apache-2.0
"""A pluggable face detector, and the one that comes along.

OpenCV's cascade (Viola and Jones 2001; Lienhart and Maydt 2002) needs no download and
no licence, and finds upright faces that look roughly at the camera (about 30 degrees
either way) in fair light; it takes lamps and patterns for faces now and then. For
anything harder, give boxes or landmarks of your own.
"""

import threading
from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np

from i2z_jax.errors import InputError
from i2z_jax.types import Float, NDArray, UInt8

# What `opencv_detector` finds, for errors: from measurements in docs/notes/track.md.
FINDS = (
    "an upright face seen from the front, from a tenth of the picture's shorter side "
    "on; beside another face, from a seventh on"
)


@runtime_checkable
class FaceDetector(Protocol):
    """Anything that finds faces in one picture; several threads call it at once."""

    def __call__(self, image: UInt8[NDArray, "h w 3"]) -> Float[NDArray, "k 5"]:
        """Boxes of all faces: left, top, right, bottom in pixels, and a score that
        grows with certainty."""
        ...


class _Look(NamedTuple):
    # The picture has at most this many pixels on its longer side.
    size: int
    # A face is at least this part of its shorter side.
    smallest: float
    # Windows of the cascade that must agree.
    neighbours: int


FIRST_LOOK = _Look(320, 1 / 8, 4)
# At this size, busy backgrounds would pass for faces with fewer neighbours.
CLOSER_LOOK = _Look(640, 1 / 12, 8)


def opencv_detector(image: UInt8[NDArray, "h w 3"]) -> Float[NDArray, "k 5"]:
    """Faces by OpenCV's frontal cascade; the score is the cascade's own weight.

    Where there is none at first, smaller ones are looked for.
    """
    boxes = _seen(image, FIRST_LOOK)
    return boxes if len(boxes) else _seen(image, CLOSER_LOOK)


def _seen(image: UInt8[NDArray, "h w 3"], look: _Look) -> Float[NDArray, "k 5"]:
    scale = min(1.0, look.size / max(image.shape[:2]))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    smallest = max(24, int(min(grey.shape) * look.smallest))
    boxes, _, weights = _cascade().detectMultiScale3(
        cv2.equalizeHist(grey),
        scaleFactor=1.1,
        minNeighbors=look.neighbours,
        minSize=(smallest, smallest),
        outputRejectLevels=True,
    )
    if len(boxes) == 0:
        return np.zeros((0, 5))
    corner, size = np.asarray(boxes, float)[:, :2], np.asarray(boxes, float)[:, 2:]
    score = np.asarray(weights, float).reshape(-1, 1)
    return np.concatenate([corner / scale, (corner + size) / scale, score], axis=1)


# OpenCV's cascade keeps the picture that it looks at: each thread has its own.
_thread = threading.local()


def _cascade() -> "cv2.CascadeClassifier":
    if hasattr(_thread, "cascade"):
        return _thread.cascade
    if not hasattr(cv2, "CascadeClassifier"):
        raise InputError(
            "this OpenCV has no face detector",
            where=f"opencv {cv2.__version__}",
            expected="a version below 5, which bundles its cascades",
            fix="pip install 'opencv-python-headless<5', or give --boxes",
        )
    _thread.cascade = cv2.CascadeClassifier(
        cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml"
    )
    return _thread.cascade
