# SPDX-License-Identifier: Apache-2.0
"""Two streams become the unified features u_l (DESIGN section 3.3).

    VGG map of level l           -> one scale per image -> scale, bias per channel
    heatmaps, pooled to level l  -> one scale per image -> scale, bias per channel
    the two, concatenated        =  u_l

"One scale" divides a map by its root mean square over (h, w, c), per image. The
supplement says "normalization layer" only. Not per-position L2, which blows up the
empty positions of a heatmap; not batch statistics, which would be the lab's; and no
mean is taken off, so that an empty position and the convolutions' zero padding mean
the same. Everything before is frozen; the scale and bias per channel are trained.

They are applied by the convolution that reads u_l (`convolve_unified`): nothing
trained is then computed of a map itself, so that the backward pass never makes a
gradient as large as the maps, and u_l is not stored beside them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from i2z_jax.models.convolution import convolve
from i2z_jax.models.resampling import max_pool
from i2z_jax.types import Array, Float

# Added to a mean square: a live map's is above 1e-4, a dead one must not become noise.
EPSILON = 1e-6


class StreamMaps(NamedTuple):
    """What the streams say of an image before anything trained sees it.

    This is what a feature cache keeps: it depends on the image alone.
    """

    # Finest level first; one map per level of the variant.
    vgg: tuple[Float[Array, "b _ _ _"], ...]
    # At the finest level's size; None in a variant without the landmark stream.
    heatmaps: Float[Array, "b h w l"] | None


class Unified(NamedTuple):
    """u_l as its parts: `x * scale + bias`."""

    # Maps of one scale per image; nothing trained is in them, streams being frozen.
    x: Float[Array, "b h w c"]
    scale: Float[Array, "c"]
    bias: Float[Array, "c"]

    def whole(self) -> Float[Array, "b h w c"]:
        """u_l, float32."""
        x = self.x.astype(jnp.float32)
        return x * self.scale[None, None, None] + self.bias[None, None, None]


def convolve_unified(
    conv: nnx.Conv, u: Unified, *, dtype: DTypeLike
) -> Float[Array, "b h w d"]:
    """`conv` of `u.whole()`: the scale goes into the kernel.

    The bias goes through the convolution once for all images; at the border, where it
    meets the padding, it is another one.
    """
    kernel = conv.kernel[...] * u.scale[None, None, :, None]
    y = convolve(u.x.astype(dtype), kernel.astype(dtype))
    bias = jnp.broadcast_to(u.bias[None, None, None], (1, *u.x.shape[1:]))
    return y + conv(bias)


class Rescale(nnx.Module):
    """One scale per image, and a learned scale and bias per channel."""

    def __init__(self, channels: int, *, dtype: DTypeLike):
        self.dtype = dtype
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: Float[Array, "b h w c"]) -> Unified:
        x = x.astype(jnp.float32)
        power = jnp.mean(jnp.square(x), axis=(1, 2, 3), keepdims=True)
        x = x * jax.lax.rsqrt(power + EPSILON)
        return Unified(x.astype(self.dtype), self.scale[...], self.bias[...])


class UnifiedFeatures(nnx.Module):
    """Stream maps to u_l, one per level, finest first."""

    def __init__(self, vgg: tuple[int, ...], landmarks: int, *, dtype: DTypeLike):
        """Channels of the VGG maps, finest first; landmarks 0: no heatmaps."""
        self.vgg = nnx.List([Rescale(channels, dtype=dtype) for channels in vgg])
        self.heatmaps = nnx.List(
            [Rescale(landmarks, dtype=dtype) for _ in vgg] if landmarks else []
        )

    def __call__(self, maps: StreamMaps) -> tuple[Unified, ...]:
        """Maps of a variant with more levels, or with heatmaps, serve as well: what
        this variant does not read is left out."""
        vgg = maps.vgg[-len(self.vgg) :]
        levels = [rescale(x) for rescale, x in zip(self.vgg, vgg, strict=True)]
        heatmaps = maps.heatmaps
        if heatmaps is None:
            return tuple(levels)
        for level, rescale in enumerate(self.heatmaps):
            if level > 0:
                heatmaps = max_pool(heatmaps)
            parts = zip(levels[level], rescale(heatmaps), strict=True)
            levels[level] = Unified(*(jnp.concatenate(two, -1) for two in parts))
        return tuple(levels)
