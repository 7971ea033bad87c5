# SPDX-License-Identifier: Apache-2.0
"""`i2z train landmarks`: the two image streams, where no published ones are at hand."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from i2z_jax import console
from i2z_jax.commands import train_options
from i2z_jax.errors import require
from i2z_jax.train.run import RunConfig


@dataclass(frozen=True)
class Config:
    """Train a stream on a built ibug_300w; the result is WORKDIR/<stream>.

    hourglass: the landmark network, heatmaps supervised on every stack. vgg: a
    stand-in for an ImageNet VGG, whose blocks learn to paint the same heatmaps; use
    `i2z convert vgg` where you have the weights.
    """

    # A built ibug_300w (`i2z data build ibug_300w`).
    data: Path
    # Folder of this run: checkpoints, metrics, TensorBoard, and the result.
    workdir: Path
    # Which network to train.
    stream: Literal["hourglass", "vgg"] = "hourglass"
    # Sizes: paper, or tiny for a CPU.
    preset: str = "paper"
    # A built multiview_capture of the person who is to be tracked: half of all pictures
    # are then views of it, labelled by its tracked mesh.
    capture: Path | None = None
    # Width of the target bells, in heatmap cells.
    sigma: float = 1.0
    # Split to learn from.
    split: str = "train"
    # Split to measure on.
    test_split: str = "common"
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)


def defaults(arguments: list[str]) -> Config:
    """The preset's recipe (`train/recipes.py`), as the options' defaults."""
    return train_options.defaults(Config, "landmarks", arguments)


def run(config: Config) -> None:
    """Network, run, model folder."""
    from flax import nnx

    from i2z_jax import checkpoint
    from i2z_jax.checkpoint import ModelCard
    from i2z_jax.data.augment import augment_landmarks
    from i2z_jax.data.batches import Source, Stream
    from i2z_jax.data.pipeline import InTurn, LandmarkPictures, ViewLandmarks
    from i2z_jax.data.records import IBUG, MULTIVIEW, has_split
    from i2z_jax.models.hourglass import Hourglass
    from i2z_jax.models.painter import HeatmapPainter
    from i2z_jax.models.parameters import Keys
    from i2z_jax.presets import preset
    from i2z_jax.train.run import fresh_module, run_mesh, run_stage
    from i2z_jax.train.stages import landmarks_stage
    from i2z_jax.train.workdir import hold, remember_config, remember_data

    expected = "above 0 and finite, in cells of the heatmap"
    require(0 < config.sigma < float("inf"), "sigma", expected, config.sigma)
    dtype = config.run.compute_dtype
    i2z = preset(config.preset).i2z
    with hold(config.workdir):
        remember_config(config.workdir, config)
        remember_data(config.workdir, {IBUG: config.data, MULTIVIEW: config.capture})
        mesh = run_mesh(config.run)

        def build() -> nnx.Module:
            rngs = Keys(config.run.seed)
            if config.stream == "hourglass":
                return Hourglass(i2z.hourglass, dtype=dtype, rngs=rngs)
            landmarks = i2z.hourglass.landmarks
            return HeatmapPainter(i2z.vgg, landmarks, dtype=dtype, rngs=rngs)

        def stream(source: Source, **strength) -> Stream:
            augment = partial(augment_landmarks, size=i2z.image_size, **strength)
            return Stream(source, config.run.batch_size, augment)

        def pictures(split: str) -> Source:
            return LandmarkPictures(config.data, split)

        learn = pictures(config.split)
        if config.capture is not None:
            learn = InTurn(learn, ViewLandmarks(config.capture, "train"))

        # A split that was asked for by name has to be there.
        asked = config.test_split != Config.test_split
        has_test = asked or has_split(config.data, IBUG, config.test_split)
        module = run_stage(
            landmarks_stage(fresh_module(build, mesh), sigma=config.sigma),
            stream(learn),
            stream(pictures(config.test_split), strength=None) if has_test else None,
            workdir=config.workdir,
            config=config.run,
            mesh=mesh,
        )
        if module is None:
            return
        if config.stream == "vgg":
            module = module.vgg
        card = ModelCard(
            config.stream,
            i2z.hourglass if config.stream == "hourglass" else i2z.vgg,
            licence="that of the landmark pictures",
            extras={
                "pictures": str(config.data),
                "capture": config.capture and str(config.capture),
                "task": "68 landmark heatmaps",
                "image_size": i2z.image_size,
                "steps": config.run.loop.steps,
            },
        )
        folder = config.workdir / config.stream
        checkpoint.save_model(folder, module, card, overwrite=True)
        console.out.print(str(folder))
