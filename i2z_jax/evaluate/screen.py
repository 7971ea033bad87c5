# SPDX-License-Identifier: Apache-2.0
"""Faces drawn into the pictures of a capture, to compare their colours there."""

from functools import partial

import jax
import jax.numpy as jnp

from i2z_jax.geometry.camera import project_near
from i2z_jax.geometry.crop import pixels_from_unit
from i2z_jax.geometry.mesh_arrays import MeshArrays
from i2z_jax.geometry.render import render
from i2z_jax.models.resampling import halve_to
from i2z_jax.types import Array, ArrayLike, Float


@partial(jax.jit, static_argnames="size")
def draw_faces(
    pose: Float[Array, "b 6"],
    vertices: Float[Array, "b n 3"],
    texture: Float[Array, "b t t 3"],
    mesh: MeshArrays,
    nearness: Float[ArrayLike, ""],
    *,
    size: int,
) -> Float[Array, "b h w 3"]:
    """Textured meshes as cameras of some nearness, 1/mm, see them in a crop.

    H alone knows no perspective: a metre away it puts the mesh 2 px of 256 off.

    Args:
        pose: H, the weak camera that fits each mesh best.
        vertices: head space, mm.
        texture: row 0 is v = 0; held to [0, 1].
        size: side of the crop, px.

    Returns:
        the colour at each pixel's centre, black beside the mesh.
    """
    # A pixel looks at four texels: of much smaller ones most would be skipped.
    texture = halve_to(jnp.clip(texture, 0, 1), 2 * size)
    points = project_near(pose, vertices, vertices, nearness)
    flat = pixels_from_unit(points[..., :2], size)
    points = jnp.concatenate([flat, points[..., 2:]], axis=-1)
    draw = jax.vmap(lambda p, t: render(p, t, mesh, size, size)[0])
    return draw(points, texture)


def pixel_weights(
    pose: Float[Array, "b 6"],
    vertices: Float[Array, "b n 3"],
    of_texels: Float[Array, "b t t"],
    mesh: MeshArrays,
    nearness: Float[ArrayLike, ""],
    *,
    size: int,
) -> Float[Array, "b h w"]:
    """How much each pixel counts: as the texels at its centre, beside the mesh 0.

    Arguments as of `draw_faces`. Mesh and pose are to be the true ones: a prediction
    gains nothing by leaving pixels uncovered.
    """
    texture = jnp.repeat(of_texels[..., None], 3, -1)
    drawn = draw_faces(pose, vertices, texture, mesh, nearness, size=size)
    return drawn[..., 0]
