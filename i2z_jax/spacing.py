# SPDX-License-Identifier: Apache-2.0
"""Evenly spaced indices."""

import numpy as np


def evenly_spaced(count: int, most: int) -> list[int]:
    """Indices of at most `most` of `count` things, from the first to the last."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()
