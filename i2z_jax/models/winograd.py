# SPDX-License-Identifier: Apache-2.0
"""3x3 convolution with half of the multiplications, and its gradients: for CPUs.

F(4, 3) of Winograd 1980, as Lavin and Gray 2016 ("Fast Algorithms for Convolutional
Neural Networks", section 4.1) apply it, along the rows of the image alone. Four rows
of the result need six of the image. These are the values of a polynomial's product at
0, 1, -1, 2, -2 and infinity:

    four rows = FROM_POINTS [ (TO_POINTS six rows) * (OF_KERNEL three taps) ]

where `*` is what is left of the convolution, 1x3 along a row: 6 of them in place of
the 12 that four rows and three taps are. A few sums of whole rows turn rows to points
and back. Along both axes most convolutions would take a quarter less time, but twice as
long to compile (docs/notes/performance.md). Values differ from the plain convolution's
by about 5e-6 of the largest in float32.

Whether it pays is a matter of channels (`convolution.py`).
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from i2z_jax.types import Array, Float

# Four rows of the result at a time.
TILE = 4
NHWC = ("NHWC", "HWIO", "NHWC")


def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]
) -> Float[Array, "b h w o"]:
    """Stride 1, zero padding 1."""
    b, height, w, _ = x.shape
    products = [
        lax.conv_general_dilated(
            rows, taps[None], (1, 1), ((0, 0), (1, 1)), dimension_numbers=NHWC
        )
        for rows, taps in zip(_image_points(x), _kernel_points(kernel), strict=True)
    ]
    zero, one, minus_one, two, minus_two, infinity = products
    even, odd = one + minus_one, one - minus_one
    even2, odd2 = two + minus_two, two - minus_two
    rows = (
        zero + even + even2,
        odd + 2 * odd2,
        even + 4 * even2,
        odd + 8 * odd2 + infinity,
    )
    return jnp.stack(rows, axis=2).reshape(b, -1, w, kernel.shape[-1])[:, :height]


def kernel_gradient(
    x: Float[Array, "b h w i"], gradient: Float[Array, "b h w o"]
) -> Float[Array, "3 3 i o"]:
    """Gradient of `convolve` for its kernel: the transpose of each of its steps."""
    products = zip(_image_points(x), _gradient_points(gradient), strict=True)
    zero, one, minus_one, two, minus_two, infinity = (
        _row_kernel_gradient(rows, of_rows) for rows, of_rows in products
    )
    even, odd = (one + minus_one) / 6, (one - minus_one) / 6
    even2, odd2 = (two + minus_two) / 24, (two - minus_two) / 24
    return jnp.stack(
        (
            zero / 4 - even + even2,
            2 * odd2 - odd,
            4 * even2 - even + infinity,
        )
    )


def _image_points(x: Float[Array, "b h w i"]) -> Sequence[Float[Array, "b t w i"]]:
    """Six rows of each tile as values at the six points."""
    tiles = -(-x.shape[1] // TILE)
    missing = TILE * tiles - x.shape[1]
    x = jnp.pad(x, ((0, 0), (1, 1 + missing), (0, 0), (0, 0)))
    end = TILE * (tiles - 1) + 1
    d0, d1, d2, d3, d4, d5 = (x[:, row : row + end : TILE] for row in range(6))
    even, odd = d4 - 4 * d2, d3 - 4 * d1
    even2, odd2 = d4 - d2, 2 * (d3 - d1)
    return (
        4 * d0 - 5 * d2 + d4,
        even + odd,
        even - odd,
        even2 + odd2,
        even2 - odd2,
        4 * d1 - 5 * d3 + d5,
    )


def _kernel_points(kernel: Float[Array, "3 3 i o"]) -> Sequence[Float[Array, "3 i o"]]:
    """Three rows of taps as values at the six points."""
    g0, g1, g2 = kernel
    even, odd = (g0 + g2) / 6, g1 / 6
    even2, odd2 = (g0 + 4 * g2) / 24, g1 / 12
    return g0 / 4, -even - odd, odd - even, even2 + odd2, even2 - odd2, g2


def _gradient_points(
    gradient: Float[Array, "b h w o"],
) -> Sequence[Float[Array, "b t w o"]]:
    """Gradient of the products at the six points, from that of the result's rows."""
    b, height, w, outputs = gradient.shape
    missing = -height % TILE
    gradient = jnp.pad(gradient, ((0, 0), (0, missing), (0, 0), (0, 0)))
    tiles = gradient.reshape(b, -1, TILE, w, outputs)
    y0, y1, y2, y3 = (tiles[:, :, row] for row in range(TILE))
    even, odd = y0 + y2, y1 + y3
    even2, odd2 = y0 + 4 * y2, 2 * y1 + 8 * y3
    return y0, even + odd, even - odd, even2 + odd2, even2 - odd2, y3


def _row_kernel_gradient(
    x: Float[Array, "b t w i"], gradient: Float[Array, "b t w o"]
) -> Float[Array, "3 i o"]:
    """A 1x3 kernel's, as one product; the factor with fewer channels is shifted."""
    inputs, outputs = x.shape[-1], gradient.shape[-1]
    if outputs > inputs:
        return product(_shifted(x), gradient).reshape(3, inputs, outputs)
    # Pixel p meets output p + 1 - tap.
    found = product(x, _shifted(gradient)).reshape(inputs, 3, outputs)
    return found.transpose(1, 0, 2)[::-1]


def _shifted(x: Float[Array, "b t w c"]) -> Float[Array, "b t w c3"]:
    """Pixels with those before and after them: before, itself, after, as channels."""
    width = x.shape[2]
    x = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    return jnp.concatenate([x[:, :, tap : tap + width] for tap in range(3)], -1)


def product(
    a: Float[Array, "b h w i"], b: Float[Array, "b h w o"]
) -> Float[Array, "i o"]:
    """Product of channels with channels, summed over all pixels in float32."""
    a, b = (m.reshape(-1, m.shape[-1]) for m in (a, b))
    return lax.dot_general(
        a, b, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )
