# SPDX-License-Identifier: Apache-2.0
"""`i2z synth landmarks`: many identities -> a landmark set in 300-W layout."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2z_jax import console
from i2z_jax.commands.synth_options import LANDMARK_SIZES, chosen
from i2z_jax.wording import counted


@dataclass(frozen=True)
class Config:
    """Render many people in the wild into 300-W layout, with 68-point .pts files.

    An interrupted run goes on where it stopped when the same command is given again.
    """

    # The set's folder.
    out: Path
    # Sizes; each can be set by itself below.
    preset: Literal["tiny", "small", "paper"] = "tiny"
    # Pictures in all, spread over the folders of 300-W as published (4437 are those).
    count: int | None = None
    # Width of the pictures, px.
    width: int | None = None
    # Height of the pictures, px.
    height: int | None = None
    # Side of the rendered textures, texels.
    texture_size: int | None = None
    # About how many vertices each head has.
    vertices: int | None = None
    # People, poses, light and places.
    seed: int = 0


def run(config: Config) -> None:
    """Render what is missing of the set."""
    from i2z_jax.geometry.raster import require_drawable
    from i2z_jax.synth.head import ProceduralHead
    from i2z_jax.synth.identity import Identity
    from i2z_jax.synth.landmark_set import LandmarkOptions, write_landmarks
    from i2z_jax.synth.sitter import procedural_subject
    from i2z_jax.synth.subject import Subject

    sizes = chosen(config, LANDMARK_SIZES[config.preset])
    head = ProceduralHead(size=sizes.vertices)
    require_drawable(len(head.topology.faces), sizes.height, sizes.width)

    def casting(rng) -> Subject:
        person = ProceduralHead(Identity.sample(rng), sizes.vertices)
        return procedural_subject(person, sizes.texture_size)

    options = LandmarkOptions(
        count=sizes.count, width=sizes.width, height=sizes.height, seed=config.seed
    )
    start = time.monotonic()
    origin: dict[str, object] = {
        "texture_size": sizes.texture_size,
        "vertices": sizes.vertices,
    }
    new = write_landmarks(casting, options, config.out, origin=origin)
    console.out.print(
        f"{config.out}: {counted(options.count, 'picture')}, "
        f"{options.width} x {options.height} px; "
        f"{new} rendered in {time.monotonic() - start:.1f} s"
    )
