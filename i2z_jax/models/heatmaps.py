# SPDX-License-Identifier: Apache-2.0
"""Heatmaps to landmarks in pixels (DESIGN section 3.2).

A heatmap of side m over an image of side s has cells of s/m pixels: cell (row i,
column j) is centred at the pixel position ((j + 0.5) s/m, (i + 0.5) s/m), with image
pixel centres at +0.5 themselves. Points are (x, y) = (column, row), in pixels of the
image the network saw.
"""

from typing import NamedTuple

import jax.numpy as jnp

from i2z_jax.types import Array, Float, Int

# Cells on each side of the highest one that `soft_argmax` looks at; 3 sigma of the
# published networks' targets.
RADIUS = 3


class Landmarks(NamedTuple):
    """Decoded landmarks."""

    points: Float[Array, "*b l 2"]  # x, y in px, pixel centres at +0.5
    confidence: Float[Array, "*b l"]  # height of the peak, in [0, 1]


def soft_argmax(heatmaps: Float[Array, "*b h w l"], image_size: int) -> Landmarks:
    """Sub-pixel landmarks: the centroid of the squared heat around the peak.

    This is a soft-argmax, softmax(2 log heat), over a window of 7 x 7 cells. Squared,
    because a Gaussian then has 1/sqrt(2) of its width: the window cuts nothing off,
    and the low noise of a network's map does not pull the point to the window's
    centre (the plain centroid's fault). Off by less than 0.001 cell for a Gaussian of
    sigma 1, 0.05 cell for sigma 2.

    Args:
        heatmaps: of one stack, trained toward Gaussians of height 1.
        image_size: side of the image that was the network's input, px.
    """
    heatmaps = heatmaps.astype(jnp.float32)
    row, column, height = _peak(heatmaps)
    rows, columns = (_cells(heatmaps, axis) for axis in (-3, -2))
    near = (abs(rows - row) <= RADIUS) & (abs(columns - column) <= RADIUS)
    weight = jnp.where(near, jnp.square(jnp.maximum(heatmaps, 0.0)), 0.0)
    total = jnp.sum(weight, axis=(-3, -2))
    # An empty map (no positive heat) answers with its highest cell.
    total = jnp.where(total > 0, total, 1.0)
    x, y = (
        peak[..., 0, 0, :] + jnp.sum(weight * (cells - peak), axis=(-3, -2)) / total
        for cells, peak in ((columns, column), (rows, row))
    )
    cell = image_size / heatmaps.shape[-2]
    points = (jnp.stack([x, y], axis=-1) + 0.5) * cell
    return Landmarks(points, jnp.clip(height, 0.0, 1.0))


def _cells(heatmaps: Array, axis: int) -> Int[Array, "*one h w l"]:
    """The row (axis -3) or column (axis -2) of every cell, ready to broadcast."""
    count = heatmaps.shape[axis]
    shape = [1] * heatmaps.ndim
    shape[axis] = count
    return jnp.arange(count).reshape(shape)


def _peak(
    heatmaps: Array,
) -> tuple[Int[Array, "*b 1 1 l"], Int[Array, "*b 1 1 l"], Float[Array, "*b l"]]:
    """Row and column of the highest cell, and its height."""
    *b, h, w, l = heatmaps.shape  # noqa: E741
    flat = heatmaps.reshape(*b, h * w, l)
    index = jnp.argmax(flat, axis=-2)[..., None, None, :]
    return index // w, index % w, jnp.max(flat, axis=-2)
