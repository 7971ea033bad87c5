# SPDX-License-Identifier: Apache-2.0
"""Mesh and texture -> image (DESIGN section 5)."""

import jax.numpy as jnp

from i2z_jax.geometry.raster import (
    corner_values,
    interpolate,
    perspective_barycentric,
    rasterize,
    screen_barycentric,
)
from i2z_jax.geometry.sampling import sample_bilinear
from i2z_jax.geometry.topology import Topology
from i2z_jax.types import Array, Bool, Float


def render(
    points: Float[Array, "n 3"],
    texture: Float[Array, "t t2 c"],
    topology: Topology,
    height: int,
    width: int,
    *,
    near_plane: float | None = None,
    perspective: bool = True,
) -> tuple[Float[Array, "h w c"], Bool[Array, "h w"]]:
    """Draw a textured mesh; differentiable in the points and the texture.

    Which triangle a pixel sees is fixed (no gradient from silhouettes); where on it
    the pixel looks, and the colour there, carry the gradient. The texture is looked
    up at pixel centres: for a picture much smaller than the texture, draw larger and
    `halve`.

    Args:
        points: projected vertices: x, y in pixels (centres at +0.5), and depth.
        texture: row 0 is v = 0; any number of channels.
        topology: faces and UVs.
        height: rows of the image.
        width: columns of the image.
        near_plane: as in `rasterize`: None for weak perspective, a distance for a
            pinhole.
        perspective: with a pinhole, False interpolates UVs affinely on the screen,
            as Multiface's renderer does (it draws with w = 1).

    Returns:
        image, zero on background, and the mask of pixels that see the mesh.
    """
    raster = rasterize(points, topology.faces, height, width, near_plane=near_plane)
    triangle = raster.triangle
    barycentric = screen_barycentric(points, topology.faces, triangle)
    if near_plane is not None and perspective:
        depth = corner_values(points[:, 2:], topology.faces, triangle)[..., 0]
        barycentric = perspective_barycentric(barycentric, depth)
    uvs = jnp.asarray(topology.uvs)
    position = interpolate(uvs, topology.uv_faces, triangle, barycentric)
    size = jnp.array([texture.shape[1], texture.shape[0]], position.dtype)
    colour = sample_bilinear(texture, position * size.reshape(1, 1, 2))
    mask = triangle >= 0
    return jnp.where(mask[..., None], colour, 0), mask
