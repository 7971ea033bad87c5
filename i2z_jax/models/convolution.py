# SPDX-License-Identifier: Apache-2.0
"""Convolutions that are fast on a CPU, too, with their gradients.

XLA's CPU backend convolves at the rate of a matrix product and no better, with few
channels at half of that or less, and writes the gradient of a kernel as a convolution
whose kernel is as large as the image, which it does at a quarter of that rate. A CPU
therefore computes several columns of few channels at a time; of many channels, 3x3
convolutions in float32 by `winograd.py`, and the kernel's gradient of all others as one
matrix product of the image with the shifted gradients. A GPU's library of convolutions
is given channels by eights, in 16 bits. Other accelerators keep what XLA writes.
docs/notes/performance.md has what each of these brings.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from i2z_jax.models import winograd
from i2z_jax.models.winograd import NHWC, product
from i2z_jax.types import Array, Float

# Inputs up to which it pays to multiply zeros for several columns at a time, and how
# many columns at most.
FEW, COLUMNS = 16, 8
# Inputs times outputs from which sums and shifts pay.
MANY = 64 * 64
# Channels of 16 bits that a GPU's matrix units read at a time.
TOGETHER = 8


@partial(jax.jit, static_argnames="stride")
def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "n n i o"], stride: int = 1
) -> Float[Array, "b h2 w2 o"]:
    """Zero padding of n // 2: an odd kernel keeps the size, 2x2 makes one more.

    Compiled by itself so that the many layers of one shape, each with a way for every
    platform, are traced once.
    """
    return _convolve(x, kernel, stride)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x, kernel, stride):
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_on_cpu, stride=stride),
        cuda=partial(_on_gpu, stride=stride),
        default=partial(_as_written, stride=stride),
    )


def _on_cpu(x, kernel, stride):
    if _suits_winograd(kernel, stride):
        return winograd.convolve(x, kernel)
    columns = _columns(kernel)
    if columns > 1:
        return _in_columns(x, kernel, stride, columns)
    return _as_written(x, kernel, stride)


def _as_written(x, kernel, stride):
    around = (len(kernel) // 2,) * 2
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), (around, around), dimension_numbers=NHWC
    )


def _on_gpu(x, kernel, stride):
    """Zeros are added here, in passes that are made anyway; cuDNN makes its own."""
    inputs, outputs = kernel.shape[2:]
    more_in, more_out = -inputs % TOGETHER, -outputs % TOGETHER
    if x.dtype.itemsize != 2 or not (more_in or more_out):
        return _as_written(x, kernel, stride)
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, more_in)))
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, more_in), (0, more_out)))
    return _as_written(x, kernel, stride)[..., :outputs]


def _suits_winograd(kernel, stride) -> bool:
    size, _, inputs, outputs = kernel.shape
    alike = size == 3 and stride == 1 and kernel.dtype == jnp.float32
    return alike and inputs * outputs >= MANY


def _columns(kernel) -> int:
    """How many together have enough outputs for XLA's product of matrices.

    A pixel's channels are read by fours if they are so many; else slower.
    """
    size, _, inputs, outputs = kernel.shape
    if size < 3 or inputs > FEW:
        return 1
    wanted = 64 if inputs % 4 else 32
    return max(1, min(COLUMNS, wanted // outputs))


def _in_columns(x, kernel, stride, columns: int):
    """Compute `columns` neighbouring outputs as channels of one strided convolution.

    Its kernel is widened.
    """
    b, _, width, _ = x.shape
    size, _, _, outputs = kernel.shape
    around = size // 2
    width = (width + 2 * around - size) // stride + 1
    missing = -width % columns
    last = stride * (columns - 1)
    moved = [
        jnp.pad(kernel, ((0, 0), (left, last - left), (0, 0), (0, 0)))
        for left in range(0, last + 1, stride)
    ]
    y = lax.conv_general_dilated(
        x,
        jnp.concatenate(moved, -1),
        (stride, stride * columns),
        ((around, around), (around, around + stride * missing)),
        dimension_numbers=NHWC,
    )
    return y.reshape(b, y.shape[1], -1, outputs)[:, :, :width]


class Conv(nnx.Conv):
    """`nnx.Conv` by `convolve`."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        *,
        size: int = 3,
        stride: int = 1,
        **options,
    ):
        super().__init__(
            channels_in,
            channels,
            (size, size),
            stride,
            padding=size // 2,
            conv_general_dilated=_for_flax,
            **options,
        )


def _for_flax(x, kernel, strides, *_, **__) -> Array:
    return convolve(x, kernel, strides[0])


def _forward(x, kernel, stride):
    return _convolve(x, kernel, stride), (x, kernel)


def _backward(stride, saved, gradient):
    return lax.platform_dependent(
        *saved,
        gradient,
        cpu=partial(_gradients_on_cpu, stride=stride),
        cuda=partial(_gradients, of=partial(_on_gpu, stride=stride)),
        default=partial(_gradients, of=partial(_as_written, stride=stride)),
    )


def _gradients(x, kernel, gradient, *, of):
    return jax.vjp(of, x, kernel)[1](gradient)


def _gradients_on_cpu(x, kernel, gradient, stride):
    as_written = partial(_as_written, stride=stride)
    of_x, of_kernel = _gradients(x, kernel, gradient, of=as_written)
    size, _, inputs, outputs = kernel.shape
    if stride == 1 and size % 2 == 1:
        # The transpose of a convolution is one with the kernel turned about.
        of_x = convolve(gradient, kernel[::-1, ::-1].swapaxes(2, 3))
    if _suits_winograd(kernel, stride):
        of_kernel = winograd.kernel_gradient(x, gradient)
    elif stride == 1 and _suits_product(size, inputs, outputs):
        of_kernel = _kernel_gradient(x, gradient, kernel.shape).astype(kernel.dtype)
    return of_x, of_kernel


_convolve.defvjp(_forward, _backward)


def _suits_product(size: int, inputs: int, outputs: int) -> bool:
    """Many channels, or so few outputs that to shift them is nothing beside them.

    What is shifted how far is written out for kernels of 2 and 3.
    """
    many = inputs * outputs >= MANY or inputs >= 4 * outputs
    return size == 2 or (size == 3 and many)


def _kernel_gradient(
    x: Float[Array, "b h w i"],
    gradient: Float[Array, "b h2 w2 o"],
    shape: tuple[int, ...],
) -> Float[Array, "n n i o"]:
    """A matrix product; the factor with fewer channels is shifted."""
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
