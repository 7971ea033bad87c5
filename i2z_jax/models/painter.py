# SPDX-License-Identifier: Apache-2.0
"""A VGG that paints landmark heatmaps, to pretrain it where no published weights are.

[ours] Each of the three tapped blocks paints all heatmaps at its own resolution
through one 1x1 convolution, so every level that I2ZNet reads learns where the parts of
a face are. The heads are thrown away afterwards. It stands in for ImageNet weights and
knows faces only.
"""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from i2z_jax.config import VGGConfig
from i2z_jax.models.vgg import VGG
from i2z_jax.types import Array, Float


class HeatmapPainter(nnx.Module):
    """VGG blocks 5, 4, 3 to heatmaps, coarsest first."""

    def __init__(
        self,
        config: VGGConfig,
        landmarks: int,
        *,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.vgg = VGG(config, dtype=dtype, rngs=rngs)
        self.heads = nnx.List(
            [
                nnx.Conv(
                    channels,
                    landmarks,
                    (1, 1),
                    kernel_init=nnx.initializers.zeros_init(),
                    dtype=dtype,
                    rngs=rngs,
                )
                for channels in config.channels[2:]
            ]
        )

    def __call__(self, image: Float[Array, "b h w 3"]) -> list[Float[Array, "b _ _ l"]]:
        """Heatmaps at 1/16, 1/8 and 1/4 of the image's size."""
        block3, block4, block5, _ = self.vgg(image)
        taps = zip(self.heads, (block3, block4, block5), strict=True)
        return [head(tap) for head, tap in taps][::-1]
