# SPDX-License-Identifier: Apache-2.0
"""`i2z train dam`: the deep appearance model of one captured person."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from i2z_jax import console
from i2z_jax.commands import train_options
from i2z_jax.config import DAMVariant
from i2z_jax.errors import InputError, require_at_least
from i2z_jax.objectives.dam import DAMWeights
from i2z_jax.train.run import RunConfig

if TYPE_CHECKING:
    from i2z_jax.checkpoint import ModelCard
    from i2z_jax.data.capture_source import CaptureSource


@dataclass(frozen=True)
class Config:
    """Train the decoder on a built capture; the result is WORKDIR/dam.

    Run the same command again to go on after an interruption.
    """

    # A built multiview_capture with view textures.
    data: Path
    # Folder of this run: checkpoints, metrics, TensorBoard, and the result.
    workdir: Path
    # Start from this model (`i2z convert dam`) instead of random weights: of this
    # capture's mesh, texture size and cameras.
    start: Path | None = None
    # Without --start: begin the mesh path as the PCA of the capture's meshes; off, as
    # published, everything begins at random.
    pca: bool = True
    # Sizes beside what the capture fixes: paper, or tiny for a CPU.
    preset: str = "paper"
    # Which decoder, as Multiface has them.
    variant: DAMVariant = "base"
    # How much more the eye and mouth regions of the texture count.
    emphasis: float = 2.0
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)
    # Weights of the terms.
    weights: DAMWeights = field(default_factory=DAMWeights)


def defaults(arguments: list[str]) -> Config:
    """The preset's recipe (`train/recipes.py`), as the options' defaults."""
    return train_options.defaults(Config, "dam", arguments)


def run(config: Config) -> None:
    """Sizes and statistics from the capture, run, model folder."""
    import jax.numpy as jnp

    from i2z_jax import checkpoint
    from i2z_jax.checkpoint import ModelCard
    from i2z_jax.data.batches import Stream
    from i2z_jax.data.capture_source import only_source
    from i2z_jax.data.pipeline import Views
    from i2z_jax.data.records import MULTIVIEW, has_views
    from i2z_jax.models.dam import DAM
    from i2z_jax.models.parameters import Keys
    from i2z_jax.presets import preset
    from i2z_jax.train import labels
    from i2z_jax.train.dam_start import normalisation, start_from_meshes
    from i2z_jax.train.run import fresh_module, run_mesh, run_stage
    from i2z_jax.train.stages import dam_stage
    from i2z_jax.train.workdir import hold, remember_config, remember_data

    require_at_least(config, {"emphasis": 0})
    dtype = config.run.compute_dtype
    with hold(config.workdir):
        remember_config(config.workdir, config)
        remember_data(config.workdir, {MULTIVIEW: config.data})
        mesh = run_mesh(config.run)
        source = only_source(config.data)
        fields = ("vertices", "average_texture", "texture")
        views = partial(Views, config.data, fields=fields)
        train = views("train")
        cameras = source.camera_names
        if config.start is None:
            sizes = replace(
                preset(config.preset).dam,
                variant=config.variant,
                vertices=source.topology.vertex_count,
                texture_size=source.texture_size,
                cameras=len(cameras),
            )
            dam = fresh_module(
                lambda: DAM(sizes, dtype=dtype, rngs=Keys(config.run.seed)), mesh
            )
            dam.statistics.set(**normalisation(source))
            if config.pca:
                meshes = labels.training_meshes(config.data)
                start_from_meshes(dam, meshes, config.weights)
        else:
            start = checkpoint.read_card(config.start, architecture="dam")
            sizes = start.config
            dam = checkpoint.load(config.start, dtype=dtype)
            labels.check_topology(dam, train[0]["vertices"], config.data)
            cameras = _cameras_of_start(start, source, config)
        weight = labels.texel_weights(
            source.topology, sizes.texture_size, emphasis=config.emphasis
        )
        has_test = has_views(config.data, "test")
        batch = config.run.batch_size
        module = run_stage(
            dam_stage(dam, weights=config.weights, texel_weight=jnp.asarray(weight)),
            Stream(train, batch),
            Stream(views("test"), batch) if has_test else None,
            workdir=config.workdir,
            config=config.run,
            mesh=mesh,
        )
        if module is None:
            return
        card = ModelCard(
            "dam",
            sizes,
            licence="that of the capture",
            extras={
                "cameras": cameras,
                "capture": str(config.data),
                "steps": config.run.loop.steps,
            },
        )
        checkpoint.save_model(config.workdir / "dam", module, card, overwrite=True)
        console.out.print(str(config.workdir / "dam"))


def _cameras_of_start(
    card: "ModelCard", source: "CaptureSource", config: Config
) -> list[str]:
    """Cameras of the start's colour rows, which the result keeps.

    Converted weights know them from the capture's KRT, if it was there, and may have
    fewer rows than it has cameras.

    Raises:
        InputError: the start is of another texture size or of other cameras.
    """
    size, rows = card.config.texture_size, card.config.cameras
    if source.texture_size != size:
        raise InputError(
            "textures of another size than the model's",
            where=config.data,
            expected=size,
            got=source.texture_size,
            fix=f"build the capture with --texture-size {size}",
        )
    capture = source.camera_names
    named = card.extras.get("cameras")
    if named is None and rows != len(capture):
        raise InputError(
            "the model does not say which cameras it knows",
            where=config.start,
            expected=f"{len(capture)} cameras, as the capture has",
            got=rows,
            fix="convert it again with the capture's KRT in the folder of --stats",
        )
    names = list(capture if named is None else named)
    for row, (wanted, found) in enumerate(zip(names, capture, strict=False)):
        if wanted != found:
            raise InputError(
                "the capture has other cameras than the model",
                where=config.data,
                expected=f"camera {row} to be {wanted}",
                got=found,
                fix="start from a model of this capture, or without --start",
            )
    if rows < len(capture):
        console.err.print(
            f"the model corrects the colours of the first {rows} of {len(capture)} "
            "cameras"
        )
    return names
