# SPDX-License-Identifier: Apache-2.0
"""A system made by the commands themselves, small enough for a test: data to tracker.

A pattern head (known vertices, 68 landmarks) on a stage of two cameras, pictures with
red pixels for landmarks, networks of a few channels, a handful of steps. Nothing it
predicts is right; everything it leaves is whole. `conftest.py` makes it once.
"""

from pathlib import Path

import numpy as np

from i2z_jax import presets
from i2z_jax.commands import (
    data_build,
    train_dam,
    train_landmarks,
    train_regress,
)
from i2z_jax.config import DAMConfig, HourglassConfig, I2ZConfig, VGGConfig
from i2z_jax.synth.capture import CaptureOptions, write_capture
from i2z_jax.train.loop import LoopConfig
from i2z_jax.train.optim import OptimizerConfig
from i2z_jax.train.run import RunConfig
from tests.data.landmark_folders import write_layout
from tests.synth.pattern_head import subject

# Registered as a preset, so that the commands are run as a user would run them.
NAME = "toy"
PRESET = presets.Preset(
    i2z=I2ZConfig(
        image_size=64,
        vgg=VGGConfig(depth=16, batch_norm=True, channels=(4, 4, 8, 8, 8)),
        hourglass=HourglassConfig(stacks=1, stem=(4, 8), features=8, depth=1),
        z_size=8,
        level_size=8,
        hidden=(16,),
    ),
    dam=DAMConfig(z_size=8),
)
RUN = RunConfig(
    batch_size=4,
    loop=LoopConfig(steps=6, log_every=2, save_every=4),
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=2),
)
TEXTURE = 32


def register() -> None:
    """Make `--preset toy` known."""
    presets.PRESETS[NAME] = PRESET


def build(root: Path) -> Path:
    """Both datasets under `root`/data, through `i2z data build`."""
    options = CaptureOptions(frames=10, cameras=2, width=72, height=96)
    write_capture(subject(), options, root / "capture", origin={})
    write_layout(root / "people", np.random.default_rng(0))
    out = root / "data"
    capture = data_build.MultiviewCapture(
        source=(root / "capture",),
        out=out,
        workers=1,
        crop_size=64,
        texture_size=TEXTURE,
        image_codec="png",
        texture_codec="png",
    )
    data_build.run(data_build.Config(capture))
    people = data_build.Ibug300W(source=(root / "people",), out=out, workers=1)
    data_build.run(data_build.Config(people))
    return out


def landmarks(data: Path, workdir: Path, **given) -> Path:
    settings = {"preset": NAME, "run": RUN, **given}
    config = train_landmarks.Config(data=data, workdir=workdir, **settings)
    train_landmarks.run(config)
    return workdir / config.stream


def dam(data: Path, workdir: Path, **given) -> Path:
    # From random weights: in six steps there is something to see being learned.
    settings = {"preset": NAME, "run": RUN, "pca": False, **given}
    train_dam.run(train_dam.Config(data=data, workdir=workdir, **settings))
    return workdir / "dam"


def regress(data: Path, workdir: Path, **given) -> Path:
    settings = {"preset": NAME, "run": RUN, **given}
    train_regress.run(train_regress.Config(data=data, workdir=workdir, **settings))
    return workdir / "system"
