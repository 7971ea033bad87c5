# SPDX-License-Identifier: Apache-2.0
"""`i2z synth video`: the captured head in the wild -> an mp4 with its ground truth."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from i2z_jax import console
from i2z_jax.commands.synth_options import VIDEO_SIZES, VideoSizes, captured, chosen
from i2z_jax.errors import InputError, require_at_least, require_at_most

# Frames per second of the fastest cameras that people have.
MOST_FPS = 1000


@dataclass(frozen=True)
class Config:
    """Render a phone video of the captured person, with ground truth beside it.

    Give --identity or --template as for the capture, and the same --vertices, so that
    the ground-truth meshes have the capture's topology.
    """

    # The video, an .mp4. `NAME.truth.npz` is written beside it.
    out: Path
    # Replace a video that is there.
    overwrite: bool = False
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
    # A model of this person from `i2z train dam`: the truth then has its z, of each
    # frame's mesh and of the texture that the capture stage would see.
    dam: Path | None = None


def run(config: Config) -> None:
    """Render the video."""
    from i2z_jax.synth.video import VideoOptions, write_video

    sizes = chosen(config, VIDEO_SIZES[config.preset])
    for option, side in (("--width", sizes.width), ("--height", sizes.height)):
        if side % 2:
            raise InputError("must be even", where=option, got=side)
    require_at_least(config, {"fps": 1, "difficulty": 0})
    require_at_most(config, {"fps": MOST_FPS, "difficulty": 1})
    if config.out.suffix.lower() != ".mp4":
        raise InputError("not an .mp4", where="--out", got=config.out)
    if config.out.exists() and not config.overwrite:
        raise InputError(
            "already exists",
            where=config.out,
            fix="choose another --out or --overwrite",
        )
    subject = captured(config, sizes)
    latent = _latent(config.dam, config, sizes) if config.dam else None
    options = VideoOptions(
        frames=sizes.frames,
        width=sizes.width,
        height=sizes.height,
        fps=config.fps,
        difficulty=config.difficulty,
        seed=config.seed,
    )
    start = time.monotonic()
    write_video(subject, options, config.out, latent=latent)
    console.out.print(
        f"{config.out}: {options.frames} frames, {options.width} x {options.height} px,"
        f" difficulty {options.difficulty:g}, in {time.monotonic() - start:.1f} s"
    )


def _latent(folder: Path, config: Config, sizes: VideoSizes) -> Any:
    """The z of an expression, as the model sees it on the stage of the capture.

    Raises:
        InputError: not a DAM, or one of another mesh.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from i2z_jax import checkpoint
    from i2z_jax.synth.stage import lab_view

    dam = checkpoint.read_card(folder, architecture="dam").config
    subject = captured(config, sizes._replace(texture_size=dam.texture_size))
    vertices = subject.head.topology.vertex_count
    if vertices != dam.vertices:
        raise InputError(
            "a model of another mesh than this head's", where=folder,
            expected=f"{vertices} vertices", got=dam.vertices,
            fix="give --vertices or --template as for the capture",
        )  # fmt: skip
    view = lab_view(subject, dam.cameras)
    encode = jax.jit(checkpoint.load(folder).encode)

    def latent(weights: Any) -> Any:
        mesh, texture = view(weights)
        face = jnp.asarray(mesh)[None], jnp.asarray(texture, jnp.float32)[None] / 255
        return np.asarray(encode(*face).mean[0])

    return latent
