# SPDX-License-Identifier: Apache-2.0
"""A topology as arrays for compiled functions: one program for meshes of one size."""

from typing import NamedTuple

import jax.numpy as jnp

from i2z_jax.geometry.topology import (
    TexelMap,
    Topology,
    barycentric_points,
    texel_map,
)
from i2z_jax.types import Array, Float, Int


class MeshArrays(NamedTuple):
    """What stays fixed while a face moves, and its texels at one texture size."""

    faces: Int[Array, "tri 3"]
    uvs: Float[Array, "m 2"]
    uv_faces: Int[Array, "tri 3"]
    texel_map: TexelMap
    # Vertices of the landmarks' triangles and their weights; None without a map.
    landmark_corners: Int[Array, "l 3"] | None
    landmark_weights: Float[Array, "l 3"] | None

    def landmarks(self, vertices: Float[Array, "*b n 3"]) -> Float[Array, "*b l 3"]:
        """The mesh's landmarks, in the vertices' space and unit; it has a map."""
        assert self.landmark_corners is not None
        assert self.landmark_weights is not None
        return barycentric_points(
            vertices, self.landmark_corners, self.landmark_weights
        )


def mesh_arrays(
    topology: Topology, texture_size: int, *, gutter: int = 2
) -> MeshArrays:
    """The arrays of a topology; `texture_size` and `gutter` as in `texel_map`."""
    corners, weights = None, topology.landmark_barycentric
    if weights is not None:
        corners = jnp.asarray(topology.faces[topology.landmark_faces])
        weights = jnp.asarray(weights, jnp.float32)
    return MeshArrays(
        jnp.asarray(topology.faces),
        jnp.asarray(topology.uvs),
        jnp.asarray(topology.uv_faces),
        TexelMap(*map(jnp.asarray, texel_map(topology, texture_size, gutter=gutter))),
        corners,
        weights,
    )
