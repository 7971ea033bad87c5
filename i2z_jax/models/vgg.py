# SPDX-License-Identifier: Apache-2.0
"""VGG stream: an image to four feature maps (DESIGN section 3.1).

Configurations D (16) and E (19) of Simonyan and Zisserman 2015, with or without
batch normalisation, without the classifier. The supplement prints the size of level
l as 32*2^l; with a 256 px image and channels 324 = 256+68 and 580 = 512+68 only 4*2^l
agrees, which the ends of conv blocks 3, 4, 5 and pool 5 have.

Names: torchvision's `features.N` counts every layer in one row; here a convolution is
`blocks.B.I.conv` and its normalisation `blocks.B.I.bn`, block and place from 0.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from i2z_jax.config import VGGConfig
from i2z_jax.models.batch_norm import BatchNorm
from i2z_jax.models.convolution import Conv
from i2z_jax.models.resampling import max_pool
from i2z_jax.types import Array, Float

# Convolutions of the five blocks.
BLOCKS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}

# Of ImageNet in RGB, as torchvision's weights expect.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class VGGMaps(NamedTuple):
    """Post-ReLU maps, finest first; sizes for a 256 px image at full width."""

    conv3: Float[Array, "b h4 w4 c3"]  # 64 x 64 x 256
    conv4: Float[Array, "b h8 w8 c4"]  # 32 x 32 x 512
    conv5: Float[Array, "b h16 w16 c5"]  # 16 x 16 x 512
    pool5: Float[Array, "b h32 w32 c5"]  # 8 x 8 x 512


class ConvUnit(nnx.Module):
    """3x3 convolution, optional batch normalisation, ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        *,
        batch_norm: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv(
            channels_in,
            channels,
            kernel_init=nnx.initializers.he_normal(),
            dtype=dtype,
            rngs=rngs,
        )
        self.bn = BatchNorm(channels) if batch_norm else None

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        x = self.conv(x)
        return nnx.relu(x if self.bn is None else self.bn(x))


class VGG(nnx.Module):
    """VGG's convolutional part.

    Inside I2ZNet, batch normalisation, where there is one, uses its running statistics:
    no output depends on the other images of the batch. In `vgg-scratch`, which trains
    this network, it is then a learned scale and bias. `HeatmapPainter`, in which the
    stream is trained on landmarks, has it use the batch's own.
    """

    def __init__(
        self, config: VGGConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        self.dtype = dtype
        self.blocks = nnx.List()
        channels_in = 3
        for channels, units in zip(config.channels, BLOCKS[config.depth], strict=True):
            block = nnx.List()
            for _ in range(units):
                block.append(
                    ConvUnit(
                        channels_in,
                        channels,
                        batch_norm=config.batch_norm,
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
                channels_in = channels
            self.blocks.append(block)

    def __call__(self, image: Float[Array, "b h w 3"]) -> VGGMaps:
        """The four maps of an RGB image in [0, 1]; normalised inside."""
        mean, std = (jnp.asarray(v)[None, None, None] for v in (MEAN, STD))
        x = ((image - mean) / std).astype(self.dtype)
        ends = []
        for index, block in enumerate(self.blocks):
            if index > 0:
                x = max_pool(x)
            for unit in block:
                x = unit(x)
            ends.append(x)
        return VGGMaps(ends[2], ends[3], ends[4], max_pool(x))
