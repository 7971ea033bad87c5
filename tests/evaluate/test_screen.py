# SPDX-License-Identifier: Apache-2.0
"""Drawn faces against a rasteriser and a texture look-up in NumPy, float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.evaluate.metrics import psnr, squared_colour_difference
from i2z_jax.evaluate.screen import draw_faces, pixel_weights
from i2z_jax.geometry.camera import project_near
from i2z_jax.geometry.mesh_arrays import mesh_arrays
from i2z_jax.geometry.topology import Topology
from tests.geometry.shapes import plane
from tests.geometry.test_raster import brute_force

SIZE, TEXELS = 24, 16
# A camera at 300 mm.
NEARNESS = 1 / 300
POSE = np.array([0.013, 0.1, 0.3, 0.2, 0.05, -0.1])

grid, faces = plane(5, 5)
TOPOLOGY = Topology(faces, np.float32(0.1 + 0.2 * grid), faces, len(grid))


@pytest.fixture
def face():
    """A bumpy sheet of 100 mm and a random texture."""
    rng = np.random.default_rng(4)
    vertices = np.column_stack([25 * grid - 50, rng.uniform(-20, 20, len(grid))])
    return vertices, rng.uniform(0, 1, (TEXELS, TEXELS, 3))


def arguments(pose, vertices, texture):
    batch = (jnp.float32(x)[None] for x in (pose, vertices, texture))
    return *batch, mesh_arrays(TOPOLOGY, TEXELS), jnp.float32(NEARNESS)


def drawn(pose, vertices, texture):
    image = draw_faces(*arguments(pose, vertices, texture), size=SIZE)
    return np.asarray(image[0], np.float64)


def drawn_by_numpy(pose, vertices, texture):
    """The picture, where it shows the mesh, and where rounding has a say."""
    points = project_near(pose, vertices, vertices, np.array(NEARNESS))
    points[:, :2] = (points[:, :2] + 1) / 2 * SIZE
    found, _, tie = brute_force(points, TOPOLOGY.faces, SIZE, SIZE)
    image = np.zeros((SIZE, SIZE, 3))
    for row, column in np.argwhere(found >= 0):
        corners = TOPOLOGY.faces[found[row, column]]
        system = np.vstack([points[corners, :2].T, np.ones(3)])
        weights = np.linalg.solve(system, [column + 0.5, row + 0.5, 1])
        u, v = weights @ TOPOLOGY.uvs[corners] * len(texture) - 0.5
        left, low = int(np.floor(u)), int(np.floor(v))
        for x, y in np.add([left, low], [(0, 0), (1, 0), (0, 1), (1, 1)]):
            share = (1 - abs(u - x)) * (1 - abs(v - y))
            image[row, column] += share * texture[y, x]
    return image, found >= 0, tie


def test_faces_are_drawn_as_numpy_draws_them(face):
    image, covered, tie = drawn_by_numpy(POSE, *face)
    assert 0.2 < covered.mean() < 0.8
    assert tie.mean() < 0.02
    found = drawn(POSE, *face)
    np.testing.assert_allclose(found[~tie], image[~tie], atol=1e-3)


def test_a_much_finer_texture_is_seen_in_means(face):
    """Stripes of a texel, 1 and 0.5: a pixel shows neither the one nor the other."""
    stripes = np.ones((8 * TEXELS, 8 * TEXELS, 3))
    stripes[:, ::2] = 0.5
    found = drawn(POSE, face[0], stripes)
    seen = found[drawn_by_numpy(POSE, *face)[1]]
    assert abs(seen - 0.75).max() < 1e-5


def test_a_shift_by_a_pixel_costs_what_numpy_says(face):
    """The face of the prediction lies a pixel to the right: on the left border of the
    true one it leaves black."""
    vertices, texture = face
    ones = jnp.ones((1, TEXELS, TEXELS))
    right = np.add(POSE, [0, 0, 0, 0, 2 / SIZE, 0])
    pose, mesh, _, *camera = arguments(POSE, vertices, texture)
    weight = np.asarray(pixel_weights(pose, mesh, ones, *camera, size=SIZE))
    picture, covered, _ = drawn_by_numpy(POSE, *face)

    def error(pose):
        image = drawn(pose, vertices, texture)
        mean = squared_colour_difference(image[None], picture[None], weight)
        return psnr(float(mean[0]))

    assert error(POSE) > 60
    assert (covered & ~np.roll(covered, 1, axis=1)).any()
    shifted = np.roll(picture, 1, axis=1)
    by_hand = -10 * np.log10(((shifted - picture)[covered] ** 2).mean())
    assert error(right) == pytest.approx(by_hand, abs=0.02)
    assert by_hand < 20


def test_pixels_count_as_the_texels_in_them(face):
    vertices, _ = face
    of_texels = np.random.default_rng(5).uniform(0, 1, (TEXELS, TEXELS))
    pose, mesh, _, *camera = arguments(POSE, vertices, np.zeros((TEXELS, TEXELS, 3)))
    weight = pixel_weights(pose, mesh, jnp.float32(of_texels)[None], *camera, size=SIZE)
    grey, _, tie = drawn_by_numpy(POSE, vertices, np.stack(3 * [of_texels], -1))
    np.testing.assert_allclose(np.asarray(weight[0])[~tie], grey[~tie][:, 0], atol=1e-3)
