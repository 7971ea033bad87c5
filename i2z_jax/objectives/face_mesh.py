# SPDX-License-Identifier: Apache-2.0
"""The mesh that the terms of adaptation read, and its landmarks as detected."""

from typing import NamedTuple

from i2z_jax.geometry.mesh_arrays import MeshArrays
from i2z_jax.types import Array, Bool, Float


class FaceMesh(NamedTuple):
    """A mesh with a landmark map, and where a detector marks its landmarks."""

    # At the size textures are compared at, a power of two below the decoder's or its.
    arrays: MeshArrays
    # From the topology's landmark to what the detector marks, mm in head space.
    landmark_offset: Float[Array, "l 3"]
    # How far each landmark is trusted, mean 1.
    landmark_trust: Float[Array, "l"]
    # Jaw points, which slide.
    on_contour: Bool[Array, "l"]

    def landmarks(self, vertices: Float[Array, "b n 3"]) -> Float[Array, "b l 3"]:
        """Where on the head the detector marks its landmarks, mm."""
        return self.arrays.landmarks(vertices) + self.landmark_offset[None]
