# SPDX-License-Identifier: Apache-2.0
"""The landmarks of Multiface's texture chart, on meshes that are laid out otherwise."""

import numpy as np

from i2z_jax.geometry import multiface_landmarks
from i2z_jax.geometry.topology import Topology


def chart_grid(side: int) -> Topology:
    """A square of triangles whose UVs fill the texture, vertices in another order."""
    rng = np.random.default_rng(0)
    across, up = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    uvs = np.stack([across, up], -1).reshape(-1, 2).astype(np.float32)
    corner = (np.arange(side - 1) + side * np.arange(side - 1)[:, None]).reshape(-1, 1)
    halves = np.array([0, 1, side]), np.array([1, side + 1, side])
    faces = np.concatenate([corner + half for half in halves]).astype(np.int32)
    order = rng.permutation(side**2).astype(np.int32)
    return Topology(order[faces], uvs, faces, side**2)


def test_landmarks_lie_on_their_texels():
    grid = chart_grid(40)
    faces, weights = multiface_landmarks.landmark_map(grid)
    found = (grid.uvs[grid.uv_faces[faces]] * weights[..., None]).sum(1)
    column, row = np.array(multiface_landmarks.TEXELS, float).T
    # A texture file's rows go down, v goes up; a texel's middle is half a texel in.
    wanted = np.stack([(column + 0.5) / 1024, 1 - (row + 0.5) / 1024], -1)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_other_meshes_are_not_taken_for_multifaces():
    assert not multiface_landmarks.is_multiface(chart_grid(4))
