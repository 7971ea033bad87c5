# SPDX-License-Identifier: Apache-2.0
"""Frames a second, of the times of frames."""

import numpy as np

from i2z_jax.types import Float, NDArray


def frames_per_second(time_s: Float[NDArray, "f"]) -> float:
    """From the usual steps in time; 0 without two times, as of a picture."""
    steps = np.diff(time_s)
    # Two pictures of one number (1.jpg and 1.png) have one time.
    steps = steps[steps > 0]
    if not len(steps):
        return 0.0
    # Without gaps, but not the middle step alone: of 30 frames a second in whole
    # milliseconds (33, 33, 34) it would make 30.3.
    middle = np.quantile(steps, 0.5, method="lower")
    return float(1 / steps[np.abs(steps - middle) < middle / 2].mean())
