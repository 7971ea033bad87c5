# SPDX-License-Identifier: Apache-2.0
"""Which frames of a video repeat the one before, and which do not continue it.

Webcams and screen recorders repeat frames, edited clips cut.
"""

import cv2
import numpy as np

from i2z_jax.data.video import Frame
from i2z_jax.types import Float, NDArray, UInt8

# Frames are compared at this many pixels on the longer side, grey levels 0..255.
COMPARE_SIZE = 400
# A repeated frame: no 8x8 block changes by more than this. Coding alone stays below.
REPEAT_LEVELS = 2.2
# A cut: the picture changes by this much on average, and many times the usual.
CUT_LEVELS, CUT_FACTOR = 20.0, 5.0
# A gap: a step in time of more than this many usual ones.
GAP_STEPS = 2.5


class Continuity:
    """Tells repeats, cuts and gaps, one frame after the other."""

    def __init__(self) -> None:
        self._grey: np.ndarray | None = None
        self._time = 0.0
        self._changes: list[float] = []
        self._steps: list[float] = []

    def step(self, frame: Frame) -> tuple[bool, bool]:
        """`(duplicate, cut)` of the next frame. The first one counts as a cut, and so
        does the one after a frame that could not be read."""
        if frame.image is None:
            self._grey = None
            return False, True
        grey = _comparable(frame.image)
        last, self._grey = self._grey, grey
        elapsed, self._time = frame.time_s - self._time, frame.time_s
        if last is None:
            return False, True
        usual_step = float(np.median(self._steps)) if self._steps else elapsed
        gap = frame.restarts or elapsed > GAP_STEPS * usual_step
        self._steps = [*self._steps[-30:], elapsed]
        difference = cv2.blur(grey - last, (8, 8))
        change = float(np.abs(difference).mean())
        usual = float(np.median(self._changes)) if self._changes else 0.0
        cut = change > max(CUT_LEVELS, CUT_FACTOR * usual)
        if not cut:
            self._changes = [*self._changes[-30:], change]
        duplicate = float(np.abs(difference).max()) < REPEAT_LEVELS
        return duplicate and not gap, cut or gap


def _comparable(image: UInt8[NDArray, "h w 3"]) -> Float[NDArray, "h2 w2"]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, COMPARE_SIZE / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return grey.astype(np.float32)
