# SPDX-License-Identifier: Apache-2.0
"""Image -> texture: where each texel of the face was seen, and whether it was.

The 3D point of a texel follows the mesh, is projected, and samples the image: the
step that turns frames of a video into comparable textures (DESIGN sections 5 and 6).
"""

import jax
import jax.numpy as jnp

from i2z_jax.geometry.camera import project_weak, view_direction
from i2z_jax.geometry.crop import pixels_from_unit
from i2z_jax.geometry.mesh import face_normals
from i2z_jax.geometry.raster import depth_buffer, interpolate
from i2z_jax.geometry.sampling import sample_bilinear
from i2z_jax.geometry.topology import TexelMap
from i2z_jax.types import Array, ArrayLike, Float, Int

# Below this cosine between normal and view a texel is too slanted to trust.
FACING = 0.2


@jax.named_scope("unwrap")
def unwrap(
    image: Float[Array, "h w c"],
    vertices: Float[Array, "n 3"],
    pose: Float[Array, "6"],
    texel_map: TexelMap,
    faces: Int[ArrayLike, "tri 3"],
) -> tuple[Float[Array, "t t c"], Float[Array, "t t"]]:
    """Unwrap a face crop under the weak-perspective camera.

    Differentiable in image, vertices and pose; the weight is a constant.

    Args:
        image: the crop.
        vertices: head space, mm.
        pose: H of the crop.
        texel_map: of the mesh's topology, at the texture size wanted.
        faces: vertex indices of the triangles.

    Returns:
        texture, row 0 is v = 0, colours of hidden texels being whatever lies in
        front of them, zero outside the charts; and its visibility, 1 or 0.
    """
    triangle, barycentric = map(jnp.asarray, texel_map)
    height, width, _ = image.shape
    projected = project_weak(pose, vertices)
    size = jnp.array([width, height], projected.dtype)
    pixels = pixels_from_unit(projected[..., :2], size[None])
    points = jnp.concatenate([pixels, projected[..., 2:]], axis=-1)
    texels = interpolate(points, faces, triangle, barycentric)
    texture = sample_bilinear(image, texels[..., :2])
    texture = jnp.where((triangle >= 0)[..., None], texture, 0)
    # One pixel, in mm on the face: finer than that the crop cannot tell.
    pixel = 2 / (jnp.abs(pose[0]) * max(height, width))
    seen = _visible(
        jax.lax.stop_gradient(points),
        jax.lax.stop_gradient(texels),
        jnp.asarray(faces),
        triangle,
        (height, width),
        jax.lax.stop_gradient(pixel),
    )
    normals = face_normals(vertices, faces)
    cosine = jnp.sum(normals * view_direction(pose)[None], axis=-1)
    facing = cosine[jnp.maximum(triangle, 0)] > FACING
    weight = (seen & facing & (triangle >= 0)).astype(texture.dtype)
    return texture, weight


# Frames of a batch through `unwrap`, the mesh being the same for all.
unwrap_frames = jax.vmap(unwrap, (0, 0, 0, None, None))


def _visible(points, texels, faces, triangle, size, tolerance):
    """Inside the picture, and at most `tolerance` mm behind the z-buffer of the nearest
    pixel."""
    height, width = size
    depth = depth_buffer(points, faces, height, width)
    x, y = texels[..., 0], texels[..., 1]
    # All four pixels that bilinear sampling reads must exist.
    inside = (x >= 0.5) & (x <= width - 0.5) & (y >= 0.5) & (y <= height - 0.5)
    column = jnp.clip(x, 0, width - 1).astype(jnp.int32)
    row = jnp.clip(y, 0, height - 1).astype(jnp.int32)
    # The pixel centre lies up to half a pixel away in x and in y, and the surface
    # may slope between there and here.
    slope = _depth_slope(points, faces)[jnp.maximum(triangle, 0)]
    return inside & (texels[..., 2] <= depth[row, column] + tolerance + slope / 2)


def _depth_slope(points, faces):
    """|d depth / dx| + |d depth / dy| of each triangle on the screen."""
    first, second, third = (points[faces[:, i]] for i in range(3))
    across, along = second - first, third - first
    area = across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0]
    dx = across[:, 2] * along[:, 1] - across[:, 1] * along[:, 2]
    dy = across[:, 0] * along[:, 2] - across[:, 2] * along[:, 0]
    return (jnp.abs(dx) + jnp.abs(dy)) / jnp.where(area == 0, jnp.inf, jnp.abs(area))
