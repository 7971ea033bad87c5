# SPDX-License-Identifier: Apache-2.0
"""Halving and doubling of feature maps, shared by the streams of DESIGN section 3.

Written as reshapes, not as windowed reductions: the compiler fuses them with their
neighbours, and on a CPU they cost a fraction of `reduce_window`.
"""

import jax.numpy as jnp

from i2z_jax.types import Array, Float


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Maximum of each 2x2 block; an odd last row or column is left out, as in torch.

    Its gradient is the first maximum's, row by row, as torch's. That of `jnp.max` is
    divided among all that equal the maximum, and was NaN in a compiled step: by their
    number, which is 0 if none does to the last bit.
    """
    blocks = _blocks(x)
    rows = _larger(blocks[:, :, :, :, 0], blocks[:, :, :, :, 1])
    return _larger(rows[:, :, 0], rows[:, :, 1])


def mean_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Mean of each 2x2 block; an odd last row or column is left out, as in torch."""
    return jnp.mean(_blocks(x), axis=(2, 4))


def halve_to(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b h2 w2 c"]:
    """`mean_pool` until no side is longer than `size`."""
    while max(x.shape[1:3]) > size:
        x = mean_pool(x)
    return x


def double(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Each cell becomes a 2x2 block (nearest neighbour)."""
    b, h, w, c = x.shape
    blocks = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
    return blocks.reshape(b, 2 * h, 2 * w, c)


def _larger(a: Array, b: Array) -> Array:
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def _blocks(x: Array) -> Array:
    b, h, w, c = x.shape
    even = x[:, : h // 2 * 2, : w // 2 * 2]
    return even.reshape(b, h // 2, 2, w // 2, 2, c)
