# SPDX-License-Identifier: Apache-2.0
"""`i2z synth blendshapes`: the expressions of a head -> OBJ files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2z_jax import console
from i2z_jax.commands.synth_options import (
    CAPTURE_SIZES,
    HeadSizes,
    captured_head,
    chosen,
)


@dataclass(frozen=True)
class Config:
    """Write the captured person's expressions as blend shapes for `i2z track`.

    Give --identity or --template as for the capture, and the same --preset or
    --vertices, so that the shapes have the tracker's mesh.
    """

    # The folder: neutral.obj, an OBJ for each expression, and shapes.png to look at.
    out: Path
    # Replace what is there.
    overwrite: bool = False
    # Size of the mesh, as in `i2z synth capture`.
    preset: Literal["tiny", "small", "paper"] = "tiny"
    # About how many vertices the procedural head has.
    vertices: int | None = None
    # Who: 0 is the default face, other numbers are other people.
    identity: int = 0
    # A scan instead of the procedural head: .obj, or .bin with --topology. Head
    # space, mm.
    template: Path | None = None
    # Its triangles and UVs: an OBJ, or a topology.npz with a landmark map.
    topology: Path | None = None


def run(config: Config) -> None:
    """Write the files and a picture of them."""
    from i2z_jax.evaluate.pictures import save, shapes_sheet
    from i2z_jax.files import write_aside
    from i2z_jax.geometry.blendshapes import write_blend_shapes
    from i2z_jax.synth.blendshapes import blend_shapes

    sizes = chosen(config, HeadSizes(CAPTURE_SIZES[config.preset].vertices))
    head = captured_head(config, sizes.vertices)
    shapes = blend_shapes(head)
    with write_aside(config.out, overwrite=config.overwrite) as aside:
        write_blend_shapes(aside, shapes, head.topology)
        save(aside / "shapes.png", shapes_sheet(shapes, head.topology))
    console.out.print(
        f"{config.out}: {len(shapes.names)} expressions of "
        f"{head.topology.vertex_count} vertices"
    )
