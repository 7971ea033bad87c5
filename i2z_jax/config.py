# SPDX-License-Identifier: Apache-2.0
"""Network configurations: frozen data, stored in every checkpoint's `model.json`.

The defaults are the `paper` preset (DESIGN sections 3 and 4); `presets.py` names
others. Sizes are in pixels, texels or channels.
"""

from dataclasses import dataclass, field
from typing import Literal

I2ZVariant = Literal["vgg-scratch", "vgg", "vgg+skip", "vgg+skip+key"]
DAMVariant = Literal["base", "res", "warp", "non", "bilinear"]


@dataclass(frozen=True)
class VGGConfig:
    """VGG's convolutional part (Simonyan and Zisserman 2015, configurations D, E)."""

    depth: Literal[16, 19] = 19
    batch_norm: bool = False
    # Channels of the five conv blocks.
    channels: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)


@dataclass(frozen=True)
class HourglassConfig:
    """Stacked hourglass (Newell et al. 2016) or FAN (Bulat and Tzimiropoulos 2017)."""

    # "residual": Newell's bottleneck, max-pooling; "hierarchical": FAN's block.
    block: Literal["residual", "hierarchical"] = "hierarchical"
    stacks: int = 4
    # Channels at a half and, before `features`, at a quarter of the image's size.
    stem: tuple[int, int] = (64, 128)
    features: int = 256
    landmarks: int = 68
    # Halvings inside one hourglass.
    depth: int = 4


@dataclass(frozen=True)
class I2ZConfig:
    """I2ZNet: two frozen streams and the trained regressor (DESIGN section 3)."""

    variant: I2ZVariant = "vgg+skip+key"
    image_size: int = 256
    vgg: VGGConfig = field(default_factory=VGGConfig)
    hourglass: HourglassConfig = field(default_factory=HourglassConfig)
    z_size: int = 128
    # Length of the vectors p_l of one level, for z and for H each.
    level_size: int = 512
    # Length of the vectors that are read off the landmarks' coordinates, beside those
    # of the levels; 0: none, as published (see `ShapeEncoder`).
    shape_size: int = 0
    # Hidden widths of the two regressors.
    hidden: tuple[int, ...] = (1024, 512)

    @property
    def name(self) -> str:
        """The variant, and whether it reads landmarks' coordinates, too."""
        reads_shape = self.has_landmarks and self.shape_size
        return f"{self.variant} + shape" if reads_shape else self.variant

    @property
    def trains_vgg(self) -> bool:
        """Whether the VGG starts from random weights; else it is pretrained, frozen."""
        return self.variant == "vgg-scratch"

    @property
    def has_skips(self) -> bool:
        """Whether the VGG's finer levels are read, too."""
        return "skip" in self.variant

    @property
    def has_landmarks(self) -> bool:
        """Whether there is a landmark stream."""
        return "key" in self.variant


@dataclass(frozen=True)
class DAMConfig:
    """Deep appearance model, Multiface's decoder family (DESIGN section 4)."""

    variant: DAMVariant = "base"
    z_size: int = 128
    vertices: int = 7306
    # A power of two from 8 to 1024.
    texture_size: int = 1024
    # Rows of the colour correction, in KRT order; camera 0 is anchored.
    cameras: int = 1
