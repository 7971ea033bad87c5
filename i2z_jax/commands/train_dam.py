# SPDX-License-Identifier: Apache-2.0
"""`i2z train dam`: the deep appearance model of one captured person."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from i2z_jax import console
from i2z_jax.commands import train_options
from i2z_jax.config import DAMVariant
from i2z_jax.objectives.dam import DAMWeights
from i2z_jax.train.run import RunConfig


@dataclass(frozen=True)
class Config:
    """Train the decoder on a built capture; the result is WORKDIR/dam.

    Run the same command again to go on after an interruption.
    """

    # A built multiview_capture with view textures.
    data: Path
    # Folder of this run: checkpoints, metrics, TensorBoard, and the result.
    workdir: Path
    # Start from this model (`i2z convert dam`) instead of random weights.
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
    from i2z_jax.data.pipeline import Views
    from i2z_jax.data.records import has_split
    from i2z_jax.models.dam import DAM
    from i2z_jax.models.parameters import Keys
    from i2z_jax.presets import preset
    from i2z_jax.train import labels
    from i2z_jax.train.dam_start import start_from_meshes
    from i2z_jax.train.run import fresh_module, run_mesh, run_stage
    from i2z_jax.train.stages import dam_stage
    from i2z_jax.train.workdir import hold, remember_config

    dtype = config.run.compute_dtype
    with hold(config.workdir):
        remember_config(config.workdir, config)
        mesh = run_mesh(config.run)
        source = labels.capture_source(config.data)
        fields = ("vertices", "average_texture", "texture")
        views = partial(Views, config.data, fields=fields)
        train = views("train")
        if config.start is None:
            sizes = replace(
                preset(config.preset).dam,
                variant=config.variant,
                vertices=source.topology.vertex_count,
                texture_size=source.texture_size,
                cameras=len(source.cameras),
            )
            dam = fresh_module(
                lambda: DAM(sizes, dtype=dtype, rngs=Keys(config.run.seed)), mesh
            )
            dam.statistics.set(**source.statistics)
            if config.pca:
                meshes = labels.training_meshes(config.data)
                start_from_meshes(dam, meshes, config.weights)
        else:
            sizes = checkpoint.read_card(config.start).config
            dam = checkpoint.load(config.start, dtype=dtype)
            labels.check_topology(dam, train[0]["vertices"], config.data)
        weight = labels.texel_weights(
            source.topology, sizes.texture_size, emphasis=config.emphasis
        )
        has_test = has_split(config.data, "multiview_capture", "test", config="views")
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
                "cameras": list(source.cameras),
                "capture": str(config.data),
                "steps": config.run.loop.steps,
            },
        )
        checkpoint.save_model(config.workdir / "dam", module, card, overwrite=True)
        console.out.print(str(config.workdir / "dam"))
