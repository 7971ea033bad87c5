# SPDX-License-Identifier: Apache-2.0
"""Loads pretrained streams into an I2ZNet: configuration first, weights after."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from i2z_jax import checkpoint
from i2z_jax.config import I2ZConfig
from i2z_jax.errors import InputError
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.parameters import freeze
from i2z_jax.sharding import replicate


def required_streams(config: I2ZConfig) -> tuple[str, ...]:
    """Which pretrained streams a variant reads: "vgg", "hourglass", both or none."""
    needed = {"vgg": not config.trains_vgg, "hourglass": config.has_landmarks}
    return tuple(name for name, is_needed in needed.items() if is_needed)


def with_streams(config: I2ZConfig, folders: dict[str, Path | None]) -> I2ZConfig:
    """`config` with the configurations of the stream checkpoints it will read.

    Args:
        folders: model folder by stream name; streams the variant does not read may be
            missing or None.

    Raises:
        InputError: a stream is missing, or is a model of another kind.
    """
    for name in required_streams(config):
        folder = folders.get(name)
        if folder is None:
            raise InputError(
                f"variant {config.variant} needs a pretrained {name} stream",
                fix=f"give --{name} DIR, from `i2z convert` or `i2z train landmarks`",
            )
        card = checkpoint.read_card(folder, architecture=name)
        config = replace(config, **{name: card.config})
    return config


def without_streams(net: I2ZNet, config: I2ZConfig) -> I2ZNet:
    """`net` without those that `attach_streams` will put there, in place: their first
    weights need not be drawn, which takes long to compile."""
    for name in required_streams(config):
        setattr(net, name, None)
    return net


def attach_streams(
    net: I2ZNet,
    config: I2ZConfig,
    folders: dict[str, Path | None],
    *,
    dtype: DTypeLike,
    mesh: Mesh,
    train: bool = False,
) -> None:
    """Put the pretrained streams of `with_streams` into `net`, in place.

    Args:
        train: they are to be trained on; frozen, if not.
    """
    net.trains_streams = config.trains_vgg or train
    for name in required_streams(config):
        folder = folders[name]
        assert folder is not None
        stream: Any = checkpoint.load(folder, dtype=dtype)
        graph, state = nnx.split(stream if train else freeze(stream))
        state = replicate(state, mesh)
        setattr(net, name, nnx.merge(graph, state))


def freeze_streams(net: I2ZNet, config: I2ZConfig) -> I2ZNet:
    """`net` as any other once its streams have been trained, in place."""
    for name in required_streams(config):
        freeze(getattr(net, name))
    net.trains_streams = config.trains_vgg
    return net
