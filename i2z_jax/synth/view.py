# SPDX-License-Identifier: Apache-2.0
"""Renders a textured mesh with calibrated cameras, and which texels each sees.

The step between a shaded texture and the files of a capture, a landmark picture or a
video frame. Pinhole cameras, perspective-correct, as real photographs are; Multiface's
own renderer is affine.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.geometry.camera import transform_points
from i2z_jax.geometry.mesh import vertex_normals
from i2z_jax.geometry.mesh_arrays import MeshArrays
from i2z_jax.geometry.raster import (
    Raster,
    interpolate,
    perspective_barycentric,
    rasterize,
)
from i2z_jax.geometry.sampling import sample_bilinear
from i2z_jax.geometry.unwrap import FACING
from i2z_jax.types import Array, Float

# Near plane, mm.
NEAR_MM = 50.0
# How far behind the nearest surface a texel still counts, mm, plus one pixel of slope.
BEHIND_MM = 2.0


class Cameras(NamedTuple):
    """Pinhole cameras of one head: `c` of them."""

    intrinsics: Float[Array, "c 3 3"]
    camera_from_head: Float[Array, "c 3 4"]


class Views(NamedTuple):
    """What each camera saw."""

    image: Float[Array, "c h w 3"]
    """Colour times coverage: black where the head is not."""
    mask: Float[Array, "c h w"]
    """Coverage in [0, 1]."""
    seen: Float[Array, "c t t"]
    """Cosine between normal and view direction; 0 for hidden texels."""


@functools.partial(jax.jit, static_argnames=("height", "width", "samples"))
def photograph(
    mesh: MeshArrays,
    vertices: Float[Array, "n 3"],
    textures: Float[Array, "c t t 3"],
    cameras: Cameras,
    *,
    height: int,
    width: int,
    samples: int = 1,
) -> Views:
    """Render a mesh with every camera, each with its own shaded texture.

    Args:
        mesh: with its texels at the size of the textures.
        vertices: head space, mm.
        textures: as each camera sees the surface lit; row 0 at v = 0.
        cameras: where they stand.
        height: rows of the pictures.
        width: columns of the pictures.
        samples: rays along each side of a pixel; 2 or 3 smooth silhouettes.
    """
    normals = vertex_normals(vertices, mesh.faces)
    positions = interpolate(vertices, mesh.faces, *mesh.texel_map)
    facings = interpolate(normals, mesh.faces, *mesh.texel_map)

    def one(texture, intrinsics, camera_from_head):
        def project(points):
            seen = transform_points(camera_from_head, points)
            pixels = seen @ intrinsics.T
            pixels = pixels[:, :2] / pixels[:, 2:] * samples
            return jnp.concatenate([pixels, seen[:, 2:]], axis=-1)

        points = project(vertices)
        raster = rasterize(
            points, mesh.faces, height * samples, width * samples, near_plane=NEAR_MM
        )
        colour = _colour(mesh, raster, points, texture)
        covered = (raster.triangle >= 0).astype(colour.dtype)
        origin = -camera_from_head[:, :3].T @ camera_from_head[:, 3]
        ray = origin[None, None] - positions
        cosine = jnp.sum(ray * facings, -1) / jnp.linalg.norm(ray, axis=-1)
        texels = project(positions.reshape(-1, 3)).reshape(positions.shape)
        mm_per_pixel = texels[..., 2] / (intrinsics[0, 0] * samples)
        seen = _nearest(raster, texels, mm_per_pixel / jnp.maximum(cosine, FACING))
        seen &= (mesh.texel_map.triangle >= 0) & (cosine > FACING)
        return (
            _average(colour * covered[..., None], samples),
            _average(covered[..., None], samples)[..., 0],
            jnp.where(seen, cosine, 0),
        )

    return Views(*jax.vmap(one)(textures, *cameras))


def _colour(mesh, raster: Raster, points, texture):
    corner_depth = points[:, 2][mesh.faces[jnp.maximum(raster.triangle, 0)]]
    weights = perspective_barycentric(raster.barycentric, corner_depth)
    uv = interpolate(mesh.uvs, mesh.uv_faces, raster.triangle, weights)
    return sample_bilinear(texture, uv * texture.shape[0])


def _nearest(raster: Raster, texels, slope_mm):
    """Whether texels are inside the picture and not behind another surface."""
    height, width = raster.depth.shape
    column = jnp.floor(texels[..., 0]).astype(jnp.int32)
    row = jnp.floor(texels[..., 1]).astype(jnp.int32)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    front = raster.depth[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    return inside & (texels[..., 2] <= front + BEHIND_MM + slope_mm)


def _average(image, samples):
    height, width, channels = image.shape
    shape = height // samples, samples, width // samples, samples, channels
    return image.reshape(shape).mean(axis=(1, 3))


def to_bytes(image: Float[Array, "*b 3"]) -> np.ndarray:
    """Colours in [0, 1] as uint8, rounded."""
    return np.asarray(jnp.round(jnp.clip(image, 0, 1) * 255).astype(jnp.uint8))
