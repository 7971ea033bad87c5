# SPDX-License-Identifier: Apache-2.0
"""`i2z train regress`: I2ZNet learns z and H of lab images, through the decoder."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from i2z_jax import console
from i2z_jax.commands import train_options
from i2z_jax.config import I2ZConfig, I2ZVariant
from i2z_jax.errors import InputError, require_at_least
from i2z_jax.objectives.regress import RegressWeights
from i2z_jax.train.run import RunConfig

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from i2z_jax.data.pipeline import Views
    from i2z_jax.models.i2znet import I2ZNet


@dataclass(frozen=True)
class Config:
    """Train I2ZNet on a built capture; the result is WORKDIR/system.

    Run the same command again to go on after an interruption.
    """

    # A built multiview_capture (`i2z data build multiview_capture`).
    data: Path
    # Folder of this run: checkpoints, metrics, TensorBoard, and the result.
    workdir: Path
    # The trained decoder: what `i2z train dam` or `i2z convert dam` left.
    dam: Path
    # Pretrained image stream (`i2z convert vgg`); not for --variant vgg-scratch.
    vgg: Path | None = None
    # Pretrained landmark stream (`i2z convert fan`, `i2z train landmarks`).
    hourglass: Path | None = None
    # Sizes of the network's trained part: paper, or tiny for a CPU.
    preset: str = "paper"
    # Augmented views to run through the frozen streams once and learn from, instead of
    # new ones in every step; 0: new ones. They stay in the devices' memory: a `paper`
    # view takes 4 MB in bfloat16, 8 MB in float32, a `tiny` one 0.4 or 0.8 MB. Not for
    # vgg-scratch, whose stream is trained.
    cache: int = 0
    # Type the cached maps are kept in; the type of the forward pass loses nothing.
    cache_dtype: Literal["float32", "bfloat16"] = "bfloat16"
    # Train the pretrained streams, too, which the paper keeps frozen [ours]: better on
    # the stage (docs/notes/training.md), but slower, because a step computes their
    # gradients, and without --cache.
    train_streams: bool = False
    # Which network (docs/design.md, 3.7); vgg+skip+key is the full one.
    variant: I2ZVariant = "vgg+skip+key"
    # Length of the vectors that vgg+skip+key reads off the landmarks' coordinates
    # [ours]; 0: none, as published. Default: the preset's.
    shape_size: int | None = None
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)
    # Weights of the terms.
    weights: RegressWeights = field(default_factory=RegressWeights)


def defaults(arguments: list[str]) -> Config:
    """The preset's recipe (`train/recipes.py`), as the options' defaults."""
    return train_options.defaults(Config, "regress", arguments)


def run(config: Config) -> None:
    """Labels, network, run, system."""
    import jax.numpy as jnp
    import numpy as np

    from i2z_jax import checkpoint
    from i2z_jax.checkpoint import ModelCard
    from i2z_jax.data.augment import augment_regression, resized_view
    from i2z_jax.data.batches import Stream
    from i2z_jax.data.capture_source import only_source
    from i2z_jax.data.pipeline import Views
    from i2z_jax.data.records import MULTIVIEW, has_views
    from i2z_jax.system import System, save_system
    from i2z_jax.train import labels
    from i2z_jax.train.lab_views import RowNumbers, keep_views
    from i2z_jax.train.run import run_mesh, run_stage
    from i2z_jax.train.shape_fit import fit_shape_branch
    from i2z_jax.train.stages import regress_stage
    from i2z_jax.train.streams import freeze_streams
    from i2z_jax.train.workdir import hold, remember_config, remember_data

    _check_options(config)
    dtype, batch_size = config.run.compute_dtype, config.run.batch_size
    dam_card = checkpoint.read_card(config.dam, architecture="dam")
    sizes = _sizes(config, dam_card.config.z_size)
    topology = only_source(config.data).topology
    with hold(config.workdir):
        remember_config(config.workdir, config)
        remember_data(config.workdir, {MULTIVIEW: config.data})
        mesh = run_mesh(config.run)
        dam = checkpoint.load(config.dam, dtype=dtype)
        texel_weight = labels.texel_weights(topology, dam_card.config.texture_size)
        z = labels.encode_frames(dam, config.data)
        views = partial(Views, config.data, tables={"z": z})
        train = views("train")
        net = _fresh_network(config, sizes, train, mesh)

        def stream(source, change):
            return Stream(source, batch_size, partial(change, size=sizes.image_size))

        shared = {"size": sizes.image_size, "seed": config.run.seed, "mesh": mesh}
        learn, kept = stream(train, augment_regression), None
        if config.cache > 0:
            kept_dtype = jnp.dtype(config.cache_dtype)
            kept = keep_views(net, train, config.cache, dtype=kept_dtype, **shared)
            learn = Stream(RowNumbers(np.arange(config.cache)), batch_size)
        fit_shape_branch(net, train, kept, dtype=dtype, **shared)
        has_test = has_views(config.data, "test")
        module = run_stage(
            regress_stage(
                net,
                dam,
                weights=config.weights,
                texel_weight=jnp.asarray(texel_weight),
                image_size=sizes.image_size,
                views=kept,
            ),
            learn,
            stream(views("test"), resized_view) if has_test else None,
            workdir=config.workdir,
            config=config.run,
            mesh=mesh,
        )
        if module is None:
            return
        card = ModelCard(
            "i2znet",
            sizes,
            licence="that of the capture and of the pretrained streams",
            extras={"capture": str(config.data), "steps": config.run.loop.steps},
        )
        module = freeze_streams(module, sizes)
        system = System(module, dam, topology, card, dam_card)
        save_system(config.workdir / "system", system, overwrite=True)
        console.out.print(str(config.workdir / "system"))


def _check_options(config: Config) -> None:
    """Refuse sizes that mean nothing, and to keep what a training step changes.

    Raises:
        InputError: such a size; the maps of a stream that is trained.
    """
    require_at_least(config, {"cache": 0, "shape_size": 0})
    if config.shape_size and not I2ZConfig(variant=config.variant).has_landmarks:
        raise InputError(
            "a network without landmarks reads no coordinates of them",
            where="--shape-size",
            expected=f"0 with --variant {config.variant}",
            got=config.shape_size,
        )
    if config.cache > 0 and (config.train_streams or config.variant == "vgg-scratch"):
        raise InputError(
            "maps of a stream that is trained cannot be kept",
            where="--cache",
            expected=0,
            got=config.cache,
        )


def _sizes(config: Config, z_size: int) -> I2ZConfig:
    """Of the network: the preset's, the decoder's z, the streams' own.

    Raises:
        InputError: a stream that is missing, or is a model of another kind.
    """
    from i2z_jax.presets import preset
    from i2z_jax.train.streams import with_streams

    sizes = replace(preset(config.preset).i2z, variant=config.variant, z_size=z_size)
    if config.shape_size is not None:
        sizes = replace(sizes, shape_size=config.shape_size)
    return with_streams(sizes, _streams(config))


def _streams(config: Config) -> dict[str, Path | None]:
    return {"vgg": config.vgg, "hourglass": config.hourglass}


def _fresh_network(
    config: Config, sizes: I2ZConfig, train: "Views", mesh: "Mesh"
) -> "I2ZNet":
    """The network before its first step.

    Args:
        train: what the spread of H is measured on.
        mesh: where the network lives.

    Returns:
        A network with its pretrained streams attached, `pose_mean` and `pose_std` set.
    """
    from i2z_jax.models.i2znet import I2ZNet
    from i2z_jax.models.parameters import Keys
    from i2z_jax.sharding import replicate
    from i2z_jax.train import labels
    from i2z_jax.train.run import fresh_module
    from i2z_jax.train.streams import attach_streams, without_streams

    dtype = config.run.compute_dtype

    def build() -> I2ZNet:
        net = I2ZNet(sizes, dtype=dtype, rngs=Keys(config.run.seed))
        return without_streams(net, sizes)

    net = fresh_module(build, mesh)
    attach_streams(
        net,
        sizes,
        _streams(config),
        dtype=dtype,
        mesh=mesh,
        train=config.train_streams,
    )
    mean, std = labels.pose_statistics(train)
    net.pose_mean[...], net.pose_std[...] = replicate((mean, std), mesh)
    return net
