# SPDX-License-Identifier: Apache-2.0
"""The arrays of a topology that the terms of adaptation read, on the devices."""

from typing import NamedTuple

from i2z_jax.geometry.topology import TexelMap, barycentric_points
from i2z_jax.types import Array, Bool, Float, Int


class FaceMesh(NamedTuple):
    """What the terms need of a topology, as arrays."""

    faces: Int[Array, "tri 3"]
    # At the size textures are compared at, a power of two below the decoder's or its.
    texel_map: TexelMap
    landmark_faces: Int[Array, "l"]
    landmark_barycentric: Float[Array, "l 3"]
    # From the topology's landmark to what the detector marks, mm in head space.
    landmark_offset: Float[Array, "l 3"]
    # How far each landmark is trusted, mean 1.
    landmark_weight: Float[Array, "l"]
    # Jaw points, which slide.
    on_contour: Bool[Array, "l"]

    def landmarks(self, vertices: Float[Array, "b n 3"]) -> Float[Array, "b l 3"]:
        """Where on the head the detector marks its landmarks, mm."""
        corners = self.faces[self.landmark_faces]
        points = barycentric_points(vertices, corners, self.landmark_barycentric)
        return points + self.landmark_offset[None]
