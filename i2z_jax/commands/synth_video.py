# SPDX-License-Identifier: Apache-2.0
"""`i2z synth video`: the captured head in the wild -> an mp4 with its ground truth."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2z_jax import console
from i2z_jax.commands.synth_options import VIDEO_SIZES, captured, chosen
from i2z_jax.errors import InputError


@dataclass(frozen=True)
class Config:
    """Render a phone video of the captured person, with ground truth beside it.

    Give --identity or --template as for the capture, and the same --vertices, so that
    the ground-truth meshes have the capture's topology.
    """

    # The video, an .mp4. `NAME.truth.npz` is written beside it.
    out: Path
    # Sizes; each can be set by itself below.
    preset: Literal["tiny", "small", "paper"] = "tiny"
    # Length in frames.
    frames: int | None = None
    # Frames per second.
    fps: int = 30
    # Width, px; even.
    width: int | None = None
    # Height, px; even.
    height: int | None = None
    # Side of the rendered texture, texels.
    texture_size: int | None = None
    # About how many vertices the procedural head has.
    vertices: int | None = None
    # 0 is close to the stage; 1 is hard light, colour, motion, noise, compression.
    difficulty: float = 0.5
    # Who: 0 is the default face, other numbers are other people.
    identity: int = 0
    # Expressions, motion, light, place.
    seed: int = 0
    # A scan instead of the procedural head: .obj, or .bin with --topology.
    template: Path | None = None
    # Its triangles and UVs: an OBJ, or a topology.npz with a landmark map.
    topology: Path | None = None
    # Its texture, linear.
    texture: Path | None = None


def run(config: Config) -> None:
    """Render the video."""
    import numpy as np

    from i2z_jax.synth.shade import wild_light
    from i2z_jax.synth.video import VideoOptions, turning, write_video

    sizes = chosen(config, VIDEO_SIZES[config.preset])
    for name in ("width", "height"):
        if sizes[name] % 2:
            raise InputError("must be even", where=f"--{name}", got=sizes[name])
    if not 0 <= config.difficulty <= 1:
        raise InputError(
            "out of range", where="--difficulty", expected="0 to 1",
            got=config.difficulty,
        )  # fmt: skip
    if config.out.suffix.lower() != ".mp4":
        raise InputError("not an .mp4", where="--out", got=config.out)
    scan = (config.template, config.topology, config.texture)
    subject = captured(config.identity, scan, sizes)
    light = wild_light(np.random.default_rng(config.seed))
    options = VideoOptions(
        sizes["frames"], sizes["width"], sizes["height"], config.fps,
        config.difficulty, config.seed,
    )  # fmt: skip
    start = time.monotonic()
    write_video(subject, turning(light), options, config.out)
    console.out.print(
        f"{config.out}: {options.frames} frames, {options.width} x {options.height} px,"
        f" difficulty {options.difficulty:g}, in {time.monotonic() - start:.1f} s"
    )
