# SPDX-License-Identifier: Apache-2.0
"""One mesh file per frame, for tools without animation."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from i2z_jax.data.images import encode
from i2z_jax.geometry.mesh import ObjMesh, write_obj
from i2z_jax.geometry.topology import Topology
from i2z_jax.types import Float, Int, NDArray, UInt8

Format = Literal["obj", "ply"]


def write_sequence(
    folder: Path,
    meshes: Iterable[tuple[int, Float[NDArray, "n 3"]]],
    topology: Topology,
    texture: UInt8[NDArray, "t t 3"],
    kind: Format,
) -> None:
    """Write `000000.obj` (or `.ply`), ... and `texture.png`, which the OBJs' UVs fit.

    Args:
        folder: is made.
        meshes: `(number of the frame, vertices in mm, head space)`.
        topology: faces and UVs.
        texture: row 0 is v = 0.
        kind: obj has UVs, ply is binary and small.
    """
    folder.mkdir(parents=True)
    picture = encode(np.ascontiguousarray(texture[::-1]), "png")
    (folder / "texture.png").write_bytes(picture)
    for number, vertices in meshes:
        path = folder / f"{number:06d}.{kind}"
        if kind == "obj":
            mesh = ObjMesh(vertices, topology.uvs, topology.faces, topology.uv_faces)
            write_obj(path, mesh)
        else:
            path.write_bytes(ply(vertices, topology.faces))


def ply(vertices: Float[NDArray, "n 3"], faces: Int[NDArray, "tri 3"]) -> bytes:
    """A binary PLY of vertices (mm) and triangles."""
    head = "\n".join(
        [
            "ply",
            "format binary_little_endian 1.0",
            f"element vertex {len(vertices)}",
            *(f"property float {axis}" for axis in "xyz"),
            f"element face {len(faces)}",
            "property list uchar int vertex_indices",
            "end_header\n",
        ]
    )
    rows = np.zeros(len(faces), [("count", "u1"), ("index", "<i4", 3)])
    rows["count"], rows["index"] = 3, faces
    return head.encode() + vertices.astype("<f4").tobytes() + rows.tobytes()
