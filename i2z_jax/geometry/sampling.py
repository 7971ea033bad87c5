# SPDX-License-Identifier: Apache-2.0
"""Bilinear sampling, and uint8 images as [0, 1]."""

import jax.numpy as jnp

from i2z_jax.types import Array, Float, UInt8


def sample_bilinear(
    image: Float[Array, "h w c"], points: Float[Array, "*b 2"]
) -> Float[Array, "*b c"]:
    """Sample an image between pixel centres; differentiable in both arguments.

    Beyond the outermost centres the image continues with its border pixels: a point
    outside gets a colour (with no gradient to the point across the border), and
    whether it counts is the caller's mask.

    Args:
        image: any number of channels.
        points: x and y in pixels, the centre of the first pixel at (0.5, 0.5).
    """
    height, width, _ = image.shape
    x = jnp.clip(points[..., 0] - 0.5, 0, width - 1)
    y = jnp.clip(points[..., 1] - 0.5, 0, height - 1)
    # The cell of the last centre would lie outside; a size of 1 has no cell at all.
    left = jnp.clip(jnp.floor(x).astype(jnp.int32), 0, max(width - 2, 0))
    top = jnp.clip(jnp.floor(y).astype(jnp.int32), 0, max(height - 2, 0))
    right, bottom = jnp.minimum(left + 1, width - 1), jnp.minimum(top + 1, height - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = image[top, left] * (1 - across) + image[top, right] * across
    lower = image[bottom, left] * (1 - across) + image[bottom, right] * across
    return upper * (1 - down) + lower * down


def unit_range(image: UInt8[Array, "*b"]) -> Float[Array, "*b"]:
    """uint8 to [0, 1], on the device: an image travels there as bytes."""
    return image.astype(jnp.float32) / 255
