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

from i2z_jax.geometry.camera import project_calibrated
from i2z_jax.geometry.mesh import vertex_normals
from i2z_jax.geometry.mesh_arrays import MeshArrays
from i2z_jax.geometry.raster import interpolate, rasterize
from i2z_jax.geometry.render import look_up
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
        samples: rays along each side of a pixel; 2 or 3 smooth silhouettes. A texel is
            seen by its pixel's first ray.
    """
    normals = vertex_normals(vertices, mesh.faces)
    positions = interpolate(vertices, mesh.faces, *mesh.texel_map)
    facings = interpolate(normals, mesh.faces, *mesh.texel_map)
    steps = (np.arange(samples) + 0.5) / samples - 0.5
    rays = np.stack([*np.meshgrid(steps, steps), np.zeros((samples, samples))], -1)
    rays = jnp.asarray(rays.reshape(-1, 1, 3), jnp.float32)

    def one(texture, intrinsics, camera_from_head):
        def project(points):
            pixels, depth = project_calibrated(
                intrinsics, camera_from_head, jnp.eye(3, 4), points
            )
            return jnp.concatenate([pixels, depth[:, None]], axis=-1)

        def sample(ray):
            """Colour and coverage along one ray of every pixel, and its depth."""
            raster = rasterize(
                points - ray, mesh.faces, height, width, near_plane=NEAR_MM
            )
            colour = look_up(raster, texture, mesh)
            covered = (raster.triangle >= 0).astype(colour.dtype)
            return colour * covered[..., None], covered, raster.depth

        points = project(vertices)
        # One after the other: the rasteriser bounds triangles x pixels of a picture.
        colour, covered, depth = jax.lax.map(sample, rays)
        origin = -camera_from_head[:, :3].T @ camera_from_head[:, 3]
        ray = origin[None, None] - positions
        cosine = jnp.sum(ray * facings, -1) / jnp.linalg.norm(ray, axis=-1)
        texels = project(positions.reshape(-1, 3)) - rays[0]
        texels = texels.reshape(positions.shape)
        mm_per_pixel = texels[..., 2] / intrinsics[0, 0]
        seen = _nearest(depth[0], texels, mm_per_pixel / jnp.maximum(cosine, FACING))
        seen &= (mesh.texel_map.triangle >= 0) & (cosine > FACING)
        return colour.mean(axis=0), covered.mean(axis=0), jnp.where(seen, cosine, 0)

    return Views(*jax.vmap(one)(textures, *cameras))


def _nearest(depth, texels, slope_mm):
    """Whether texels are inside the picture and not behind another surface."""
    height, width = depth.shape
    column = jnp.floor(texels[..., 0]).astype(jnp.int32)
    row = jnp.floor(texels[..., 1]).astype(jnp.int32)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    front = depth[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    return inside & (texels[..., 2] <= front + BEHIND_MM + slope_mm)


def to_bytes(image: Float[Array, "*b 3"]) -> np.ndarray:
    """Colours in [0, 1] as uint8, rounded."""
    return np.asarray(jnp.round(jnp.clip(image, 0, 1) * 255).astype(jnp.uint8))
