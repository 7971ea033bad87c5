# SPDX-License-Identifier: Apache-2.0
"""Stacked hourglass: an image to landmark heatmaps (DESIGN section 3.2).

Two published networks with one skeleton: Newell et al. 2016 as laid out in
princeton-vl/pytorch_stacked_hourglass, and FAN (Bulat and Tzimiropoulos 2017). They
differ in the block and in how they halve: `ResidualBlock` with max-pooling,
`HierarchicalBlock` with mean-pooling.

| here | princeton-vl | FAN |
|---|---|---|
| `conv1`, `bn1` | `pre.0.conv`, `pre.0.bn` | `conv1`, `bn1` |
| `conv2`, `conv3`, `conv4` (blocks) | `pre.1`, `pre.3`, `pre.4` | the same |
| `stacks.S.hourglass` | `hgs.S.0` | `mS` |
| `....up1`, `low1`, `low2`, `low3` | the same, nested in `low2` | `b1_L`, `b2_L`, \
level L-1 or `b2_plus_1`, `b3_L` |
| `stacks.S.top` | `features.S.0` | `top_m_S` |
| `stacks.S.conv`, `bn` | `features.S.1.conv`, `.bn` | `conv_lastS`, `bn_endS` |
| `stacks.S.heatmaps` | `outs.S.conv` | `lS` |
| `stacks.S.merge_features` | `merge_features.S.conv.conv` | `blS` |
| `stacks.S.merge_heatmaps` | `merge_preds.S.conv.conv` | `alS` |
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from i2z_jax.config import HourglassConfig
from i2z_jax.models.batch_norm import BatchNorm
from i2z_jax.models.convolution import Conv
from i2z_jax.models.resampling import double, max_pool, mean_pool
from i2z_jax.types import Array, Float

# What kernels start as.
LECUN, ZEROS = nnx.initializers.lecun_normal(), nnx.initializers.zeros_init()


class ResidualBlock(nnx.Module):
    """Newell's pre-activation bottleneck: 1x1, 3x3, 1x1, with biases."""

    def __init__(
        self, channels_in: int, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        half = channels // 2
        self.bn1 = BatchNorm(channels_in)
        self.conv1 = _conv(channels_in, half, 1, dtype, rngs)
        self.bn2 = BatchNorm(half)
        self.conv2 = _conv(half, half, 3, dtype, rngs)
        self.bn3 = BatchNorm(half)
        self.conv3 = _conv(half, channels, 1, dtype, rngs)
        self.skip = (
            _conv(channels_in, channels, 1, dtype, rngs)
            if channels_in != channels
            else None
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        y = self.conv1(nnx.relu(self.bn1(x)))
        y = self.conv2(nnx.relu(self.bn2(y)))
        y = self.conv3(nnx.relu(self.bn3(y)))
        return y + (x if self.skip is None else self.skip(x))


class HierarchicalBlock(nnx.Module):
    """FAN's block: three 3x3 of 1/2, 1/4, 1/4 of the channels, all three kept."""

    def __init__(
        self, channels_in: int, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        half, quarter = channels // 2, channels // 4
        self.bn1 = BatchNorm(channels_in)
        self.conv1 = _conv(channels_in, half, 3, dtype, rngs, use_bias=False)
        self.bn2 = BatchNorm(half)
        self.conv2 = _conv(half, quarter, 3, dtype, rngs, use_bias=False)
        self.bn3 = BatchNorm(quarter)
        self.conv3 = _conv(quarter, quarter, 3, dtype, rngs, use_bias=False)
        widens = channels_in != channels
        self.skip_bn = BatchNorm(channels_in) if widens else None
        self.skip = (
            _conv(channels_in, channels, 1, dtype, rngs, use_bias=False)
            if widens
            else None
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        y1 = self.conv1(nnx.relu(self.bn1(x)))
        y2 = self.conv2(nnx.relu(self.bn2(y1)))
        y3 = self.conv3(nnx.relu(self.bn3(y2)))
        if self.skip is not None and self.skip_bn is not None:
            x = self.skip(nnx.relu(self.skip_bn(x)))
        return jnp.concatenate([y1, y2, y3], axis=-1) + x


# Block and halving of each design.
Block = type[ResidualBlock] | type[HierarchicalBlock]
DESIGNS: dict[str, tuple[Block, Callable[[Array], Array]]] = {
    "residual": (ResidualBlock, max_pool),
    "hierarchical": (HierarchicalBlock, mean_pool),
}


class Level(nnx.Module):
    """One scale of an hourglass and, inside `low2`, all coarser ones."""

    def __init__(
        self, config: HourglassConfig, depth: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        block, self.halve = DESIGNS[config.block]
        size = config.features
        self.up1 = block(size, size, dtype=dtype, rngs=rngs)
        self.low1 = block(size, size, dtype=dtype, rngs=rngs)
        self.low2 = (
            Level(config, depth - 1, dtype=dtype, rngs=rngs)
            if depth > 1
            else block(size, size, dtype=dtype, rngs=rngs)
        )
        self.low3 = block(size, size, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        low = self.low3(self.low2(self.low1(self.halve(x))))
        return self.up1(x) + double(low)


class Stack(nnx.Module):
    """Hourglass, heatmaps, and the way back into the next stack (not the last)."""

    def __init__(
        self,
        config: HourglassConfig,
        *,
        last: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        block, _ = DESIGNS[config.block]
        size, landmarks = config.features, config.landmarks
        self.hourglass = Level(config, config.depth, dtype=dtype, rngs=rngs)
        self.top = block(size, size, dtype=dtype, rngs=rngs)
        self.conv = _conv(size, size, 1, dtype, rngs)
        self.bn = BatchNorm(size)
        # Empty maps to begin with: training need not undo random ones first.
        self.heatmaps = _conv(size, landmarks, 1, dtype, rngs, start=ZEROS)
        self.merge_features = None if last else _conv(size, size, 1, dtype, rngs)
        self.merge_heatmaps = None if last else _conv(landmarks, size, 1, dtype, rngs)

    def __call__(
        self, x: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w l"], Float[Array, "b h w c"]]:
        """This stack's heatmaps, and the next stack's input."""
        features = nnx.relu(self.bn(self.conv(self.top(self.hourglass(x)))))
        heatmaps = self.heatmaps(features)
        if self.merge_features is not None and self.merge_heatmaps is not None:
            x = x + self.merge_features(features) + self.merge_heatmaps(heatmaps)
        return heatmaps, x


class Hourglass(nnx.Module):
    """A stacked hourglass network; heatmaps have a quarter of the image's size.

    Batch normalisation uses its running statistics, which is what a frozen stream
    needs; `nnx.view(net, use_running_average=False)` is the training view.
    """

    def __init__(
        self, config: HourglassConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        block, self.halve = DESIGNS[config.block]
        first, second = config.stem
        self.conv1 = Conv(3, first, size=7, stride=2, dtype=dtype, rngs=rngs)
        self.bn1 = BatchNorm(first)
        self.conv2 = block(first, second, dtype=dtype, rngs=rngs)
        self.conv3 = block(second, second, dtype=dtype, rngs=rngs)
        self.conv4 = block(second, config.features, dtype=dtype, rngs=rngs)
        self.stacks = nnx.List(
            [
                Stack(config, last=i == config.stacks - 1, dtype=dtype, rngs=rngs)
                for i in range(config.stacks)
            ]
        )

    def __call__(
        self, image: Float[Array, "b h w 3"]
    ) -> list[Float[Array, "b h4 w4 l"]]:
        """Heatmaps of every stack (training wants all), best last.

        Args:
            image: RGB in [0, 1]; sides divisible by 4 * 2^depth.
        """
        x = nnx.relu(self.bn1(self.conv1(image)))
        x = self.halve(self.conv2(x))
        x = self.conv4(self.conv3(x))
        outputs = []
        for stack in self.stacks:
            heatmaps, x = stack(x)
            outputs.append(heatmaps)
        return outputs


def _conv(
    channels_in: int,
    channels: int,
    size: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
    use_bias: bool = True,
    start: Callable[..., Array] = LECUN,
) -> nnx.Conv:
    options = {
        "use_bias": use_bias,
        "kernel_init": start,
        "dtype": dtype,
        "rngs": rngs,
    }
    if size == 3:
        return Conv(channels_in, channels, **options)
    return nnx.Conv(channels_in, channels, (size, size), **options)
