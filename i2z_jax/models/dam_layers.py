# SPDX-License-Identifier: Apache-2.0
"""Layers of the deep appearance model (DESIGN section 4).

Multiface's weight norm divides by the Frobenius norm of the **whole** weight, where
Salimans and Kingma (2016) have one norm per output: `w · g / ‖w‖`, g per output.
Parameters are float32; `dtype` is what is computed in.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from i2z_jax.config import DAMVariant
from i2z_jax.models.convolution import NHWC, convolve
from i2z_jax.models.resampling import mean_pool
from i2z_jax.types import Array, Float

# Slope of every LeakyReLU, and the gain that keeps the variance through one.
SLOPE = 0.2
LEAKY_GAIN = math.sqrt(2 / (1 + SLOPE**2))


def activate(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """LeakyReLU with the slope of the published model."""
    return jnp.where(x >= 0, x, SLOPE * x)


class WeightNorm(nnx.Module):
    """A kernel whose last axis is the output, its norm `g`, and a bias per output.

    `kernel · g / ‖kernel‖` starts as `kernel` itself: g starts at the norm.
    """

    def __init__(self, kernel: Float[Array, "*b o"], dtype: DTypeLike):
        outputs = kernel.shape[-1]
        self.kernel = nnx.Param(kernel)
        self.g = nnx.Param(jnp.full((outputs,), jnp.linalg.norm(kernel.ravel())))
        self.bias = nnx.Param(jnp.zeros((outputs,)))
        self.dtype = dtype

    def gain(self) -> Float[Array, "o"]:
        """What the raw kernel's outputs are multiplied with: g / ‖kernel‖."""
        return self.g[...] / jnp.sqrt(jnp.sum(jnp.square(self.kernel[...])))

    def normalized(self) -> Float[Array, "*b o"]:
        """The kernel that is convolved with, in the compute dtype."""
        kernel = self.kernel[...]
        gain = jnp.expand_dims(self.gain(), tuple(range(kernel.ndim - 1)))
        return (kernel * gain).astype(self.dtype)


class NormedDense(WeightNorm):
    """`b i -> b o`, before activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        gain: float = LEAKY_GAIN,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        bound = gain * math.sqrt(6 / (inputs + outputs))
        super().__init__(_uniform((inputs, outputs), bound, rngs), dtype)

    def __call__(self, x: Float[Array, "b i"]) -> Float[Array, "b o"]:
        # The gain goes on the output: the kernel is the bigger of the two.
        y = x.astype(self.dtype) @ self.kernel[...].astype(self.dtype)
        gain, bias = self.gain().astype(self.dtype), self.bias[...].astype(self.dtype)
        return y * gain[None] + bias[None]


class NormedConv(WeightNorm):
    """`b h w i -> b h/stride w/stride o`, zero padding 1, before activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        size: int = 3,
        stride: int = 1,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        bound = LEAKY_GAIN * math.sqrt(6 / ((inputs + outputs) * size**2))
        super().__init__(_uniform((size, size, inputs, outputs), bound, rngs), dtype)
        self.stride = stride

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        return self.linear(x) + self.bias[...].astype(self.dtype)[None, None, None]

    def linear(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Without the bias."""
        return lax.conv_general_dilated(
            x.astype(self.dtype),
            self.normalized(),
            (self.stride, self.stride),
            ((1, 1), (1, 1)),
            dimension_numbers=NHWC,
        )


class Upsample(WeightNorm):
    """`b h w i -> b 2h 2w o`, before activation: a deconvolution with a bias per texel.

    The published layer has a bias per output as well. The variants differ here only:
    `non` has no bias per texel (one more per output in its place), and `bilinear`
    repeats texels (nearest, in spite of its name) before a 3x3 convolution, which is
    a deconvolution too, with the kernel of `deconvolution_from_repeated`.

    Args:
        size: rows and columns of the output, for the bias per texel.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        variant: DAMVariant = "base",
        texel_bias: bool = True,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.repeats = variant == "bilinear"
        width = 3 if self.repeats else 2
        bound = LEAKY_GAIN * math.sqrt(6 / ((inputs + outputs) * width**2))
        kernel = _uniform((width, width, inputs, outputs), bound, rngs)
        if not self.repeats:
            # The four output phases start equal, so that nothing looks like a grid.
            kernel = kernel.repeat(2, 0).repeat(2, 1)
        super().__init__(kernel, dtype)
        side = 1 if variant == "non" else size
        self.texel_bias = (
            nnx.Param(jnp.zeros((side, side, outputs))) if texel_bias else None
        )

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        bias = self.bias[...][None, None]
        if self.texel_bias is not None:
            bias = bias + self.texel_bias[...]
        return self.linear(x) + bias.astype(self.dtype)[None]

    def linear(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Without the biases."""
        return deconvolve(x.astype(self.dtype), self._kernel())

    def halved(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        """`mean_pool` of the result, which is never made."""
        bias = self.bias[...][None, None, None]
        if self.texel_bias is not None:
            texels = self.texel_bias[...][None]
            bias = bias + (mean_pool(texels) if texels.shape[1] > 1 else texels)
        kernel = halved_deconvolution(self._kernel())
        y = convolve(x.astype(self.dtype), kernel)
        return y + bias.astype(self.dtype)

    def _kernel(self) -> Float[Array, "4 4 i o"]:
        kernel = self.normalized()
        return deconvolution_from_repeated(kernel) if self.repeats else kernel


class DownBlock(nnx.Module):
    """`b h w i -> b h/4 w/4 o`: two strided convolutions, each activated.

    With `residual` each is followed by a 3x3 convolution that is added to it.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        residual: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        kinds = {"size": 4, "stride": 2, "dtype": dtype, "rngs": rngs}
        self.first = NormedConv(inputs, outputs, **kinds)
        self.second = NormedConv(outputs, outputs, **kinds)
        self.first_residual = _residual(outputs, residual, dtype, rngs)
        self.second_residual = _residual(outputs, residual, dtype, rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h4 w4 o"]:
        x = _add_residual(self.first_residual, activate(self.first(x)))
        return _add_residual(self.second_residual, activate(self.second(x)))


class UpBlock(nnx.Module):
    """`b h w i -> b 4h 4w o`: two deconvolutions, each activated.

    Args:
        size: rows and columns of the output.
        final: leave the second without activation: it is the network's output.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        size: int,
        *,
        variant: DAMVariant = "base",
        final: bool = False,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        kinds = {"variant": variant, "dtype": dtype, "rngs": rngs}
        self.first = Upsample(inputs, hidden, size // 2, **kinds)
        self.second = Upsample(hidden, outputs, size, **kinds)
        self.first_residual = _residual(hidden, variant == "res", dtype, rngs)
        self.second_residual = _residual(outputs, variant == "res", dtype, rngs)
        self.final = final

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h4 w4 o"]:
        x = self.second(self.middle(x))
        if not self.final:
            return _add_residual(self.second_residual, activate(x))
        return x if self.second_residual is None else self.second_residual(x) + x

    def middle(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 m"]:
        """After the first deconvolution; the rest of a final block is affine."""
        return _add_residual(self.first_residual, activate(self.first(x)))

    def halved(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """`mean_pool` of a final block's result."""
        if self.second_residual is None:
            return self.second.halved(self.middle(x))
        return mean_pool(self(x))

    def linear_end(self, x: Float[Array, "b h2 w2 m"]) -> Float[Array, "b h4 w4 o"]:
        """What a final block does to a difference of two `middle`s."""
        x = self.second.linear(x)
        residual = self.second_residual
        return x if residual is None else residual.linear(x) + x


def deconvolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "4 4 i o"]
) -> Float[Array, "b h2 w2 o"]:
    """Transposed convolution of size 4, stride 2, padding 1, as one 2x2 convolution.

    Each of the four phases of the output (even and odd rows and columns) sees 2x2 of
    the input. All four come out of one convolution of the padded input with 4·o
    outputs, of which each phase takes its window. Against convolving an input dilated
    with zeros this is a quarter of the multiplications (6 to 9 times faster at 512²
    and 1024² on a CPU, where XLA does multiply the zeros).

    Args:
        kernel: already turned: tap (0, 0) meets the upper left of the dilated input.
    """
    b, h, w, i = x.shape
    o = kernel.shape[-1]
    # Tap 2p + a of the dilated input falls on input p for outputs of phase a.
    taps = kernel.reshape(2, 2, 2, 2, i, o).transpose(0, 2, 4, 1, 3, 5)
    y = convolve(x, taps.reshape(2, 2, i, 4 * o))
    # Divided first: the gradient is then put side by side, where it would be the sum
    # of four maps that are mostly zeros.
    phases = iter(jnp.split(y, 4, axis=-1))
    rows = [
        jnp.stack([next(phases)[:, r : r + h, c : c + w] for c in (0, 1)], axis=3)
        for r in (0, 1)
    ]
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, o)


def halved_deconvolution(
    kernel: Float[Array, "4 4 i o"],
) -> Float[Array, "3 3 i o"]:
    """The kernel of the convolution that is `mean_pool` of `deconvolve`."""
    for axis in (0, 1):
        # Both phases see the input in the middle, each of the others one of them.
        first, second, third, fourth = jnp.moveaxis(kernel, axis, 0)
        kernel = jnp.stack([first, second + third, fourth], axis) / 2
    return kernel


def deconvolution_from_repeated(
    kernel: Float[Array, "3 3 i o"],
) -> Float[Array, "4 4 i o"]:
    """The kernel of `deconvolve` that repeats each texel 2x2, then applies `kernel`.

    Repeating is deconvolving with ones(2, 2); the two kernels in a row are their full
    convolution. It saves the repeated image and more than half the multiplications.
    """
    rows = jnp.pad(kernel, ((0, 1), (0, 0), (0, 0), (0, 0)))
    rows = rows + jnp.roll(rows, 1, 0)
    both = jnp.pad(rows, ((0, 0), (0, 1), (0, 0), (0, 0)))
    return both + jnp.roll(both, 1, 1)


def _residual(
    channels: int, wanted: bool, dtype: DTypeLike, rngs: nnx.Rngs
) -> NormedConv | None:
    return NormedConv(channels, channels, dtype=dtype, rngs=rngs) if wanted else None


def _add_residual(conv: NormedConv | None, x: Array) -> Array:
    return x if conv is None else activate(conv(x) + x)


def _uniform(shape: tuple[int, ...], bound: float, rngs: nnx.Rngs) -> Array:
    """Glorot and Bengio 2010, with the bound worked out by the layer."""
    return jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound)
