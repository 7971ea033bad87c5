# SPDX-License-Identifier: Apache-2.0
"""The networks, each reading like its figure."""

from typing import Any, NamedTuple

from i2z_jax.config import DAMConfig, HourglassConfig, I2ZConfig, VGGConfig
from i2z_jax.models.dam import DAM
from i2z_jax.models.hourglass import Hourglass
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.vgg import VGG


class Architecture(NamedTuple):
    """A network by the name that checkpoints store: `module(config, rngs=...)`."""

    config: type[Any]
    module: type[Any]


ARCHITECTURES: dict[str, Architecture] = {
    "vgg": Architecture(VGGConfig, VGG),
    "hourglass": Architecture(HourglassConfig, Hourglass),
    "i2znet": Architecture(I2ZConfig, I2ZNet),
    "dam": Architecture(DAMConfig, DAM),
}
