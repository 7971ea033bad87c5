# SPDX-License-Identifier: Apache-2.0
"""Sizes by name. `paper` and `tiny` are the same code with other numbers."""

from dataclasses import dataclass, field

from i2z_jax.config import DAMConfig, HourglassConfig, I2ZConfig, VGGConfig
from i2z_jax.errors import InputError


@dataclass(frozen=True)
class Preset:
    """The networks of one system; both sides of it share z."""

    i2z: I2ZConfig = field(default_factory=I2ZConfig)
    dam: DAMConfig = field(default_factory=DAMConfig)


# As published (DESIGN sections 3, 4): 256 px crops, VGG-19, FAN-4, z 128.
PAPER = Preset()

# For a 2-core CPU and the tests: 128 px crops, a quarter of the VGG's width, one
# small hourglass, z 32.
TINY = Preset(
    i2z=I2ZConfig(
        image_size=128,
        # With batch normalisation, because it is trained from random weights.
        vgg=VGGConfig(depth=16, batch_norm=True, channels=(16, 32, 64, 128, 128)),
        hourglass=HourglassConfig(stacks=1, stem=(16, 32), features=64),
        z_size=32,
        level_size=64,
        # A capture of a few hundred moments does not teach the levels to find landmarks
        # that the hourglass has found.
        shape_size=64,
        hidden=(128, 64),
    ),
    dam=DAMConfig(z_size=32, texture_size=128),
)

PRESETS: dict[str, Preset] = {"paper": PAPER, "tiny": TINY}


def preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PRESETS:
        raise InputError(
            "no such preset", where=name, expected=" or ".join(sorted(PRESETS))
        )
    return PRESETS[name]
