# SPDX-License-Identifier: Apache-2.0
"""Heatmaps as a network that is sure of its landmarks paints them."""

import numpy as np


def bells(points):
    """Maps of 64 cells with a bell at each of some points, crop units."""
    cells = np.arange(64)[:, None] - ((points + 1) * 32 - 0.5).T[:, None]
    x, y = np.exp(-0.5 * cells**2)
    return np.float32(y[:, None] * x[None])
