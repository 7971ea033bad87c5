# SPDX-License-Identifier: Apache-2.0
"""`i2z synth capture`: a head on a stage -> a capture in Multiface layout."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2z_jax import console
from i2z_jax.commands.synth_options import CAPTURE_SIZES, captured, chosen
from i2z_jax.wording import counted


@dataclass(frozen=True)
class Config:
    """Render a synthetic capture in Multiface layout.

    An interrupted run goes on where it stopped when the same command is given again.
    """

    # The capture's folder.
    out: Path
    # Sizes; each can be set by itself below.
    preset: Literal["tiny", "small", "paper"] = "tiny"
    # Moments in time. Each has a picture and a texture from every camera.
    frames: int | None = None
    # Cameras around the face (of --krt: its first ones).
    cameras: int | None = None
    # Width of the pictures, px.
    width: int | None = None
    # Height of the pictures, px.
    height: int | None = None
    # Side of the textures, texels.
    texture_size: int | None = None
    # About how many vertices the procedural head has.
    vertices: int | None = None
    # Who: 0 is the default face, other numbers are other people.
    identity: int = 0
    # Expressions, head motion and cameras.
    seed: int = 0
    # A scan instead of the procedural head: .obj, or .bin with --topology. Head
    # space, mm.
    template: Path | None = None
    # Its triangles and UVs: an OBJ, or a topology.npz with a landmark map.
    topology: Path | None = None
    # Its texture, linear.
    texture: Path | None = None
    # A real stage's cameras (for pictures 1334 x 2048) instead of invented ones.
    krt: Path | None = None


def run(config: Config) -> None:
    """Render what is missing of the capture."""
    import numpy as np

    from i2z_jax.data.krt import read_krt
    from i2z_jax.synth.capture import CaptureOptions, write_capture
    from i2z_jax.synth.rig import rig_of_krt

    sizes = chosen(config, CAPTURE_SIZES[config.preset])
    rig = None
    if config.krt is not None:
        generator = np.random.default_rng(config.seed)
        stage = read_krt(config.krt)
        rig = rig_of_krt(stage, generator, width=sizes.width, height=sizes.height)
        rig = rig.first(config.cameras or len(stage))
        sizes = sizes._replace(cameras=len(rig.cameras))
    subject = captured(config, sizes)
    options = CaptureOptions(
        frames=sizes.frames,
        cameras=sizes.cameras,
        width=sizes.width,
        height=sizes.height,
        seed=config.seed,
    )
    origin: dict[str, object] = {
        "texture_size": sizes.texture_size,
        "vertices": sizes.vertices,
        "identity": config.identity,
        "template": str(config.template),
        "topology": str(config.topology),
        "texture": str(config.texture),
        "krt": str(config.krt),
    }
    start = time.monotonic()
    new = write_capture(subject, options, config.out, origin=origin, rig=rig)
    console.out.print(
        f"{config.out}: {options.frames} frames x "
        f"{counted(options.cameras, 'camera')}, "
        f"{options.width} x {options.height} px, texture {subject.texture_size}; "
        f"{counted(new, 'frame')} rendered in {time.monotonic() - start:.1f} s"
    )
