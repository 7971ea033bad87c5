# SPDX-License-Identifier: Apache-2.0
"""Image pyramids: antialiased halving, with and without a mask (DESIGN section 6)."""

from functools import partial

import jax.numpy as jnp
from jax import lax

from i2z_jax.types import Array, Float

# The even binomial kernel, 1 3 3 1 in eighths: symmetric about the corner that four
# pixels share, which is where the half-size image has its pixel centre. Nothing shifts.
INNER, OUTER = 0.375, 0.125


def halve(image: Float[Array, "*b h w c"]) -> Float[Array, "*b h2 w2 c"]:
    """Half-size image, low-passed by the 4x4 binomial kernel, border repeated.

    Raises:
        ValueError: an odd size, for which pixel centres would shift.
    """
    for axis in (-3, -2):
        image = _halve_axis(image, axis)
    return image


def pyramid(
    image: Float[Array, "*b h w c"], weight: Float[Array, "*b h w"], levels: int
) -> list[tuple[Float[Array, "*b _ _ c"], Float[Array, "*b _ _"]]]:
    """Images and weights, finest first; each level half the size of the one before.

    Pixels count by their weight, so that nothing leaks in from where it is 0; the
    image is 0 where no pixel under the kernel has any.

    Args:
        image: differentiable, as is the weight.
        weight: >= 0, for instance an unwrap's visibility.
        levels: how many, the given one included.

    Raises:
        ValueError: the size is not a multiple of 2^(levels - 1).
    """
    result = [(image, weight)]
    for _ in range(levels - 1):
        image, weight = result[-1]
        reduced = halve(weight[..., None])
        total = halve(image * weight[..., None])
        some = reduced > 0
        level = jnp.where(some, total / jnp.where(some, reduced, 1), 0)
        result.append((level, reduced[..., 0]))
    return result


def _halve_axis(image, axis):
    size = image.shape[axis]
    if size % 2:
        raise ValueError(f"cannot halve an odd size (shape {image.shape})")
    axis %= image.ndim
    # Two by two: 1.5 times as fast on a CPU as slices with a stride.
    pairs = image.reshape(*image.shape[:axis], size // 2, 2, *image.shape[axis + 1 :])
    even, odd = (
        lax.index_in_dim(pairs, place, axis + 1, keepdims=False) for place in (0, 1)
    )
    part = partial(lax.slice_in_dim, axis=axis)
    before = jnp.concatenate([part(even, 0, 1), part(odd, 0, -1)], axis)
    after = jnp.concatenate([part(even, 1, None), part(odd, -1, None)], axis)
    return INNER * (even + odd) + OUTER * (before + after)
