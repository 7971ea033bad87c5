# SPDX-License-Identifier: Apache-2.0
"""Mesh and texture -> image (DESIGN section 5)."""

import jax.numpy as jnp

from i2z_jax.geometry.mesh_arrays import MeshArrays
from i2z_jax.geometry.raster import Raster, interpolate, rasterize
from i2z_jax.geometry.sampling import sample_bilinear
from i2z_jax.geometry.topology import Topology
from i2z_jax.types import Array, Bool, Float


def render(
    points: Float[Array, "n 3"],
    texture: Float[Array, "t t2 c"],
    topology: Topology | MeshArrays,
    height: int,
    width: int,
) -> tuple[Float[Array, "h w c"], Bool[Array, "h w"]]:
    """Draw a textured mesh as a weak camera sees it: UVs are affine on the screen.

    Differentiable in the points and the texture.

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

    Returns:
        image, zero on background, and the mask of pixels that see the mesh.
    """
    raster = rasterize(points, topology.faces, height, width)
    mask = raster.triangle >= 0
    return jnp.where(mask[..., None], look_up(raster, texture, topology), 0), mask


def look_up(
    raster: Raster, texture: Float[Array, "t t2 c"], topology: Topology | MeshArrays
) -> Float[Array, "h w c"]:
    """The texture's colour at what each pixel sees; any colour on background."""
    uvs = jnp.asarray(topology.uvs)
    at = interpolate(uvs, topology.uv_faces, raster.triangle, raster.barycentric)
    size = jnp.array([texture.shape[1], texture.shape[0]], at.dtype)
    return sample_bilinear(texture, at * size[None, None])
