# SPDX-License-Identifier: Apache-2.0
"""Convolutions with a gradient of their kernel that is fast on a CPU, too.

XLA writes that gradient as a convolution whose kernel is as large as the image, which
its CPU backend does at a quarter of the speed of the convolution itself. It is one
matrix product of the image with the shifted gradients, which runs at full speed
(docs/benchmarks.md). Accelerators recognise what XLA writes, and keep it.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from i2z_jax.types import Array, Float

# Zeros around an image: above and below, left and right.
Padding = tuple[tuple[int, int], tuple[int, int]]

NHWC = ("NHWC", "HWIO", "NHWC")


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "n m i o"],
    stride: int,
    padding: Padding,
) -> Float[Array, "b h2 w2 o"]:
    """`jax.lax.conv_general_dilated` of images, channels last."""
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=NHWC
    )


class Conv(nnx.Conv):
    """`nnx.Conv` of images by `convolve`: no dilation, no groups."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, conv_general_dilated=_for_flax, **options)


def _for_flax(x, kernel, strides, padding, **_) -> Array:
    if padding == "SAME":
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    return convolve(x, kernel, strides[0], tuple(map(tuple, padding)))


def _forward(x, kernel, stride, padding):
    return convolve(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, saved, gradient):
    x, kernel = saved
    plain = partial(convolve.fun, stride=stride, padding=padding)
    (of_x,) = jax.vjp(lambda x: plain(x, kernel), x)[1](gradient)

    def as_product(x, gradient):
        return _kernel_gradient(x, gradient, kernel.shape, stride, padding)

    def as_xla_writes_it(x, gradient):
        return jax.vjp(lambda kernel: plain(x, kernel), kernel)[1](gradient)[0]

    of_kernel = lax.platform_dependent(
        x, gradient, cpu=as_product, default=as_xla_writes_it
    )
    return of_x, of_kernel.astype(kernel.dtype)


convolve.defvjp(_forward, _backward)


def _kernel_gradient(
    x: Float[Array, "b h w i"],
    gradient: Float[Array, "b h2 w2 o"],
    shape: tuple[int, ...],
    stride: int,
    padding: Padding,
) -> Float[Array, "n m i o"]:
    """As a matrix product. Of its factors the one with fewer channels is shifted."""
    rows, columns, inputs, outputs = shape
    taps = [(r, c) for r in range(rows) for c in range(columns)]
    if stride == 1 and outputs <= inputs:
        # Tap t of output p meets input p + t - padding: input q meets output q - t.
        beyond = [
            (n - 1 - a, n - 1 - b) for n, (a, b) in zip(shape[:2], padding, strict=True)
        ]
        shifted = _shifted(gradient, taps[::-1], x.shape[1:3], 1, beyond)
        product = _product(x, shifted).reshape(inputs, rows, columns, outputs)
        return product.transpose(1, 2, 0, 3)
    shifted = _shifted(x, taps, gradient.shape[1:3], stride, padding)
    return _product(shifted, gradient).reshape(shape)


def _shifted(x, taps, size, stride, padding) -> Float[Array, "b h w k"]:
    """Windows of a padded image, one for each tap, beside each other as channels."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (stride * (n - 1) + 1 for n in size)
    return jnp.concatenate(
        [x[:, r : r + height : stride, c : c + width : stride] for r, c in taps], -1
    )


def _product(a, b) -> Float[Array, "i o"]:
    """Summed over images and pixels."""
    a, b = (m.reshape(-1, m.shape[-1]) for m in (a, b))
    return lax.dot_general(
        a, b, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )
