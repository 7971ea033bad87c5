# SPDX-License-Identifier: Apache-2.0
"""What stays fixed while a face moves: triangles, UVs, regions, landmarks.

One file per kind of mesh (`topology.npz`, DESIGN section 7). From it follows where on
the mesh each texel of a texture lies, at any texture size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import distance_transform_edt

from i2z_jax.errors import InputError
from i2z_jax.files import open_npz, write_npz
from i2z_jax.geometry.mesh import read_obj
from i2z_jax.geometry.raster import rasterize
from i2z_jax.types import ArrayLike, Float, Int

LANDMARKS = 68


class TexelMap(NamedTuple):
    """Where on the mesh each texel lies. Hand it to jitted code as an argument."""

    triangle: Int[ArrayLike, "t t"]
    """int32 index into the faces, -1 where the texture is not used."""
    barycentric: Float[ArrayLike, "t t 3"]
    """float32 weights of the triangle's corners, zeros where it is not used."""


# Compared by identity: a topology is loaded once, and arrays do not hash.
@dataclass(frozen=True, eq=False)
class Topology:
    """Faces and UVs of a mesh, with what is known about its parts.

    Raises:
        InputError: shapes that do not fit, or an index out of range.
    """

    faces: np.ndarray
    """(tri, 3) int32 vertex indices, counter-clockwise seen from outside."""
    uvs: np.ndarray
    """(m, 2) float32; u to the right, v up in a picture, row 0 of memory is v = 0."""
    uv_faces: np.ndarray
    """(tri, 3) int32 UV indices of the same corners."""
    vertex_count: int
    """How many vertices the mesh has (n)."""
    regions: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Name ("eyes", "mouth", "jaw") to (n,) bool."""
    landmark_faces: np.ndarray | None = None
    """(68,) int32 triangles of the 300-W landmarks, None when unknown."""
    landmark_barycentric: np.ndarray | None = None
    """(68, 3) float32 weights within those triangles."""

    def __post_init__(self):
        expected = {
            "uvs": (self.uvs, (len(self.uvs), 2)),
            "uv_faces": (self.uv_faces, (len(self.faces), 3)),
            "faces": (self.faces, (len(self.faces), 3)),
        }
        expected |= {
            f"region {name}": (mask, (self.vertex_count,))
            for name, mask in self.regions.items()
        }
        if (self.landmark_faces is None) != (self.landmark_barycentric is None):
            raise InputError("landmarks need both faces and weights", where="topology")
        if self.landmark_faces is not None:
            expected |= {
                "landmark_faces": (self.landmark_faces, (LANDMARKS,)),
                "landmark_barycentric": (self.landmark_barycentric, (LANDMARKS, 3)),
            }
        for name, (array, shape) in expected.items():
            if array is not None and array.shape != shape:
                raise InputError(
                    f"{name} has another shape",
                    where="topology",
                    expected=shape,
                    got=array.shape,
                )
        indices = [
            ("faces", self.faces, self.vertex_count),
            ("uv_faces", self.uv_faces, len(self.uvs)),
        ]
        if self.landmark_faces is not None:
            indices.append(("landmark_faces", self.landmark_faces, len(self.faces)))
        for name, index, size in indices:
            if index.size and not 0 <= index.min() <= index.max() < size:
                raise InputError(
                    f"{name} out of range",
                    where="topology",
                    expected=f"0 to {size - 1}",
                    got=f"{index.min()} to {index.max()}",
                )


def load(path: str | Path) -> Topology:
    """Read a topology: `topology.npz`, or an OBJ (then without regions, landmarks).

    Raises:
        InputError: not readable as either, arrays missing, or not a topology.
    """
    path = Path(path)
    if path.suffix.lower() == ".obj":
        mesh = read_obj(path)
        return Topology(mesh.faces, mesh.uvs, mesh.uv_faces, len(mesh.vertices))
    try:
        with open_npz(path) as file:
            arrays = dict(file)
        return Topology(
            faces=arrays["faces"].astype(np.int32),
            uvs=arrays["uvs"].astype(np.float32),
            uv_faces=arrays["uv_faces"].astype(np.int32),
            vertex_count=int(arrays["vertex_count"]),
            regions={
                name.removeprefix("region_"): mask.astype(bool)
                for name, mask in arrays.items()
                if name.startswith("region_")
            },
            landmark_faces=arrays.get("landmark_faces"),
            landmark_barycentric=arrays.get("landmark_barycentric"),
        )
    except InputError as error:
        raise InputError(str(error), where=path) from error
    except KeyError as error:
        raise InputError(f"has no array {error}", where=path) from error
    except Exception as error:  # whatever the zip or a header runs into
        raise InputError(
            f"cannot be read as a topology ({error})",
            where=path,
            expected="a topology.npz or an .obj with UVs",
        ) from error


def save(path: str | Path, topology: Topology, *, overwrite: bool = False) -> None:
    """Write `topology.npz`.

    Raises:
        InputError: the path exists and `overwrite` is off, or cannot be written.
    """
    arrays: dict[str, Any] = {
        "faces": topology.faces,
        "uvs": topology.uvs,
        "uv_faces": topology.uv_faces,
        "vertex_count": np.int64(topology.vertex_count),
    }
    arrays |= {f"region_{name}": mask for name, mask in topology.regions.items()}
    if topology.landmark_faces is not None:
        arrays["landmark_faces"] = topology.landmark_faces
        arrays["landmark_barycentric"] = topology.landmark_barycentric
    write_npz(path, arrays, compressed=True, overwrite=overwrite)


@lru_cache(maxsize=8)
def texel_map(topology: Topology, size: int, *, gutter: int = 2) -> TexelMap:
    """Triangle and weights of every texel of a `size` x `size` texture.

    The UV triangles are drawn into the texture. Bilinear sampling near the border of
    a chart also reads texels just outside it; up to `gutter` texels beyond, a texel
    takes the place on the mesh of the nearest one inside, so whatever is computed
    per texel (a shaded or an unwrapped texture) has no dark seams. 2 texels serve the
    texture and its half-size version; 0 leaves the exact charts.

    Args:
        topology: faces and UVs. UVs outside [0, 1] have no texels.
        size: rows and columns of the texture.
        gutter: width of the rim around the charts, in texels.

    Returns:
        NumPy arrays, computed once per topology and size.
    """
    points = np.pad(topology.uvs * size, [(0, 0), (0, 1)]).astype(np.float32)
    draw = jax.jit(rasterize, static_argnums=(2, 3))
    raster = draw(jnp.asarray(points), jnp.asarray(topology.uv_faces), size, size)
    triangle = np.asarray(raster.triangle)
    barycentric = np.asarray(raster.barycentric)
    distance, (rows, columns) = distance_transform_edt(  # pyrefly: ignore
        triangle < 0, return_indices=True
    )
    near = (distance <= gutter) & (triangle >= 0).any()
    return TexelMap(
        np.where(near, triangle[rows, columns], -1),
        np.where(near[..., None], barycentric[rows, columns], 0),
    )


def landmark_points(
    topology: Topology, vertices: Float[ArrayLike, "*b n 3"]
) -> Float[ArrayLike, "*b 68 3"]:
    """The 68 landmarks of a mesh, in the vertices' space and unit.

    Raises:
        InputError: the topology has no landmark map.
    """
    if topology.landmark_faces is None or topology.landmark_barycentric is None:
        raise InputError(
            "no landmark map", where="topology", fix="derive one for this mesh first"
        )
    weights = topology.landmark_barycentric.astype(vertices.dtype)
    corners = topology.faces[topology.landmark_faces]
    return barycentric_points(vertices, corners, weights)


def barycentric_points(
    vertices: Float[ArrayLike, "*b n 3"],
    corners: Int[ArrayLike, "l 3"],
    weights: Float[ArrayLike, "l 3"],
) -> Float[ArrayLike, "*b l 3"]:
    """Points in triangles of a mesh: their corners' vertices, weighted."""
    xp = vertices.__array_namespace__()
    lead = (1,) * (vertices.ndim - 2)
    weights = xp.reshape(xp.asarray(weights), (*lead, *weights.shape, 1))
    return xp.sum(vertices[..., corners, :] * weights, axis=-2)
