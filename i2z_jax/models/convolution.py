# SPDX-License-Identifier: Apache-2.0
"""Convolutions that are fast on a CPU, too, with their gradients.

XLA's CPU backend convolves at the rate of a matrix product and no better, and writes
the gradient of a kernel as a convolution whose kernel is as large as the image, which
it does at a quarter of that rate. Where there are many channels, a CPU therefore
computes 3x3 convolutions in float32 by `winograd.py`, and the kernel's gradient of all
others as one matrix product of the image with the shifted gradients (docs/benchmarks.md
has both). Accelerators keep what XLA writes.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from i2z_jax.models import winograd
from i2z_jax.models.winograd import NHWC, product
from i2z_jax.types import Array, Float

# Products a pixel and tap, inputs times outputs, from which sums and shifts pay.
MANY = 64 * 64


@jax.custom_vjp
def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "n n i o"]
) -> Float[Array, "b h2 w2 o"]:
    """Stride 1, zero padding 1: a 3x3 kernel keeps the size, 2x2 makes one more."""
    if _suits_winograd(kernel):
        return lax.platform_dependent(
            x, kernel, cpu=winograd.convolve, default=_as_written
        )
    return _as_written(x, kernel)


def _as_written(x, kernel):
    around = ((1, 1), (1, 1))
    return lax.conv_general_dilated(x, kernel, (1, 1), around, dimension_numbers=NHWC)


def _suits_winograd(kernel) -> bool:
    size, _, inputs, outputs = kernel.shape
    return size == 3 and kernel.dtype == jnp.float32 and inputs * outputs >= MANY


class Conv(nnx.Conv):
    """`nnx.Conv` of 3x3 by `convolve`."""

    def __init__(self, channels_in: int, channels: int, **options):
        super().__init__(
            channels_in, channels, (3, 3), conv_general_dilated=_for_flax, **options
        )


def _for_flax(x, kernel, *_, **__) -> Array:
    return convolve(x, kernel)


def _forward(x, kernel):
    return convolve(x, kernel), (x, kernel)


def _backward(saved, gradient):
    x, kernel = saved
    size, _, inputs, outputs = kernel.shape
    on_cpu = _gradients_as_written
    if _suits_winograd(kernel):
        on_cpu = _gradients_by_winograd
    elif size == 2 or inputs * outputs >= MANY:
        on_cpu = _gradients_with_product
    return lax.platform_dependent(
        x, kernel, gradient, cpu=on_cpu, default=_gradients_as_written
    )


def _gradients_as_written(x, kernel, gradient):
    return jax.vjp(_as_written, x, kernel)[1](gradient)


def _gradients_by_winograd(x, kernel, gradient):
    # The transpose of a convolution is one with the kernel turned about.
    of_x = winograd.convolve(gradient, kernel[::-1, ::-1].swapaxes(2, 3))
    return of_x, winograd.kernel_gradient(x, gradient)


def _gradients_with_product(x, kernel, gradient):
    of_x, _ = _gradients_as_written(x, kernel, gradient)
    return of_x, _kernel_gradient(x, gradient, kernel.shape).astype(kernel.dtype)


convolve.defvjp(_forward, _backward)


def _kernel_gradient(
    x: Float[Array, "b h w i"],
    gradient: Float[Array, "b h2 w2 o"],
    shape: tuple[int, ...],
) -> Float[Array, "n n i o"]:
    """As a matrix product. Of its factors the one with fewer channels is shifted."""
    size, _, inputs, outputs = shape
    taps = [(r, c) for r in range(size) for c in range(size)]
    if outputs > inputs:
        return product(_shifted(x, taps, 1, gradient), gradient).reshape(shape)
    # Output p meets input p + tap - 1 by a tap: input q meets output q + 1 - tap.
    found = product(x, _shifted(gradient, taps[::-1], size - 2, x))
    return found.reshape(inputs, size, size, outputs).transpose(1, 2, 0, 3)


def _shifted(x, taps, padding: int, like) -> Float[Array, "b h w k"]:
    """Windows of a padded image, one for each tap, beside each other as channels."""
    around = (padding, padding)
    x = jnp.pad(x, ((0, 0), around, around, (0, 0)))
    height, width = like.shape[1:3]
    return jnp.concatenate([x[:, r : r + height, c : c + width] for r, c in taps], -1)
