# SPDX-License-Identifier: Apache-2.0
"""Heatmap targets: what the hourglass is trained to paint for 68 landmarks.

Takes NumPy or JAX arrays. A training step builds its targets on the device, from
landmarks: 68 maps of 64² are 1.1 MB, five times the image that they belong to.
"""

from typing import NamedTuple

from i2z_jax.types import ArrayLike, Bool, Float


class HeatmapTargets(NamedTuple):
    """`maps` have their peak 1 at the landmark; `inside` says which have one."""

    maps: Float[ArrayLike, "*b h w l"]
    inside: Bool[ArrayLike, "*b l"]


def heatmap_targets(
    landmarks: Float[ArrayLike, "*b l 2"],
    *,
    crop_size: int,
    map_size: int,
    sigma: float = 1.0,
) -> HeatmapTargets:
    """`exp(-|x - x_l|² / 2 sigma²)` on the heatmap's grid, centred between cells.

    A landmark is not rounded to a cell, so the maps' centre of mass is the landmark
    (away from the border, where part of the bell is cut off). A landmark outside the
    crop gets an all-zero map and `inside` False: a network cannot paint it.

    Args:
        landmarks: crop pixels, centres at +0.5.
        crop_size: side of the crop in pixels.
        map_size: side of the heatmaps in cells; cell j spans [j, j + 1) in cells.
        sigma: width of the bell in cells.
    """
    xp = landmarks.__array_namespace__()
    inside = xp.all((landmarks >= 0) & (landmarks < crop_size), axis=-1)
    centres = xp.arange(map_size, dtype=landmarks.dtype) + 0.5
    cells = landmarks * (map_size / crop_size)
    offset = cells[..., None] - centres.reshape((1,) * cells.ndim + (-1,))
    bell = xp.exp(offset**2 * (-0.5 / sigma**2))  # *b l 2 cells: x, then y
    bell = bell * inside[..., None, None]
    maps = bell[..., 1, :, None] * bell[..., 0, None, :]  # *b l h w
    return HeatmapTargets(xp.moveaxis(maps, -3, -1), inside)
