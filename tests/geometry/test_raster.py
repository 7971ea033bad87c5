# SPDX-License-Identifier: Apache-2.0
"""The rasteriser against float64 brute force, and what a z-buffer has to hold."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.errors import InputError
from i2z_jax.geometry.raster import depth_buffer, interpolate, rasterize
from tests.geometry.shapes import plane, sphere

draw = jax.jit(rasterize, static_argnums=(2, 3), static_argnames=("near_plane",))
draw_depth = jax.jit(depth_buffer, static_argnums=(2, 3))


def brute_force(points, faces, height, width, near_plane=None):
    """Nearest triangle and depth by solving for barycentrics, pixel by triangle.

    Also the pixels where the answer is a matter of rounding: a centre within 1e-5 of
    an edge, or two triangles within 1e-5 of the same depth.
    """
    points = np.asarray(points, np.float64)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    homogeneous = np.stack([x, y, np.ones_like(x)], axis=-1)
    best = np.full((height, width), np.inf)
    found = np.full((height, width), -1)
    tie = np.zeros((height, width), bool)
    for index, corners in enumerate(points[faces]):
        if not np.isfinite(corners).all():
            continue
        if near_plane is not None and (corners[:, 2] < near_plane).any():
            continue
        system = np.concatenate([corners[:, :2].T, np.ones((1, 3))])
        if abs(np.linalg.det(system)) < 1e-9:
            continue
        weights = homogeneous @ np.linalg.inv(system).T
        if near_plane is None:
            depth = weights @ corners[:, 2]
        else:
            depth = 1 / (weights @ (1 / corners[:, 2]))
        margin = weights.min(axis=-1)
        inside = margin >= 0
        # Ties: where this triangle or an earlier one could also have won.
        close = np.abs(depth - best) <= 1e-5 * np.maximum(1, np.abs(depth))
        border = (np.abs(margin) < 1e-5) & ~(depth > best + 1e-4)
        closer = inside & (depth < best)
        tie = np.where(closer & ~close & (margin > 1e-5), False, tie)
        tie |= border | (inside & close)
        found = np.where(closer, index, found)
        best = np.where(closer, depth, best)
    return found, best, tie


def agree(points, faces, height, width, near_plane=None):
    raster = draw(
        jnp.asarray(points, jnp.float32),
        jnp.asarray(faces),
        height,
        width,
        near_plane=near_plane,
    )
    found, depth, tie = brute_force(
        np.asarray(points, np.float32), faces, height, width, near_plane
    )
    triangle = np.asarray(raster.triangle)
    assert (triangle == found)[~tie].mean() >= 0.999
    assert tie.mean() < 0.1  # the oracle still says something
    same = (triangle == found) & (found >= 0)
    np.testing.assert_allclose(
        np.asarray(raster.depth)[same], depth[same], rtol=1e-4, atol=1e-3
    )
    assert np.isinf(np.asarray(raster.depth)[triangle < 0]).all()
    if near_plane is None:
        alone = draw_depth(
            jnp.asarray(points, jnp.float32), jnp.asarray(faces), height, width
        )
        np.testing.assert_allclose(
            np.asarray(alone)[same], depth[same], rtol=1e-4, atol=1e-3
        )
        np.testing.assert_array_equal(np.isinf(alone), triangle < 0)
    return raster, found


def random_triangles(rng, count, size, extent):
    """Corners around random centres, partly off screen."""
    centre = rng.uniform(-0.2, 1.2, (count, 1, 2)) * size
    corners = centre + rng.normal(0, extent, (count, 3, 2))
    depth = rng.uniform(500, 1500, (count, 3, 1))
    points = np.concatenate([corners, depth], axis=-1).reshape(-1, 3)
    return points, np.arange(3 * count).reshape(count, 3)


@pytest.mark.parametrize("extent", [0.7, 5.0, 60.0], ids=["specks", "small", "large"])
@pytest.mark.parametrize("near_plane", [None, 10.0], ids=["weak", "pinhole"])
def test_random_triangles_agree_with_brute_force(rng, extent, near_plane):
    points, faces = random_triangles(rng, 150, 64, extent)
    _, found = agree(points, faces, 64, 64, near_plane)
    assert (found >= 0).sum() >= 20


def test_odd_sizes_and_negative_depths(rng):
    points, faces = random_triangles(rng, 60, 50, 12.0)
    points[:, 2] -= 1000
    agree(points, faces, 37, 61)


def test_slivers(rng):
    points, faces = random_triangles(rng, 100, 64, 25.0)
    corners = points.reshape(-1, 3, 3)
    # The third corner almost on the line of the other two.
    corners[:, 2] = corners[:, :2].mean(axis=1) + rng.normal(0, 0.05, (100, 3))
    agree(corners.reshape(-1, 3), faces, 64, 64)


def test_triangle_over_the_whole_screen_and_beyond():
    points = np.array(
        [[-4000, -3000, 5], [5000, -3000, 7], [0, 9000, 9], [0, 0, 1], [9, 0, 1],
         [0, 9, 1]]
    )  # fmt: skip
    _, found = agree(points, np.array([[0, 1, 2], [3, 4, 5]]), 64, 128)
    assert (found == 0).sum() + (found == 1).sum() == 64 * 128


@pytest.mark.parametrize(
    ("corners", "near_plane"),
    [
        ([[3, 3, 1], [3, 3, 1], [3, 3, 1]], None),
        ([[2, 2, 1], [5, 5, 1], [10, 10, 1]], None),
        ([[20, 2, 1], [30, 2, 1], [20, 9, 1]], None),
        ([[-9, -9, 1], [-2, -9, 1], [-2, -1, 1]], None),
        ([[1.6, 1.6, 1], [2.4, 1.6, 1], [2.4, 2.4, 1]], None),
        ([[0, 0, 1], [9, 0, np.nan], [0, 9, 1]], None),
        ([[0, 0, 1], [np.inf, 0, 1], [0, 9, 1]], None),
        ([[1e30, 0, 1], [-1e30, 5, 1], [0, 1e30, 1]], None),
        ([[0, 0, 50], [9, 0, -50], [0, 9, 50]], 1.0),
        ([[0, 0, -50], [9, 0, -50], [0, 9, -50]], 1.0),
        ([[0, 0, 0], [9, 0, 50], [0, 9, 50]], 1.0),
    ],
    ids=["point", "line", "right of the screen", "left of the screen",
         "between centres", "nan depth", "infinite", "overflow", "crosses the camera",
         "behind the camera", "in the camera plane"],
)  # fmt: skip
def test_left_out(corners, near_plane):
    # A healthy triangle behind shows that only the bad one is missing.
    points = [*corners, [0, 0, 90], [30, 0, 90], [0, 30, 90]]
    raster = draw(
        jnp.asarray(points, jnp.float32),
        jnp.array([[0, 1, 2], [3, 4, 5]]),
        10,
        10,
        near_plane=near_plane,
    )
    assert (np.asarray(raster.triangle) == 1).all()
    np.testing.assert_allclose(raster.depth, 90, rtol=1e-5)


def test_no_triangle_in_sight():
    points = jnp.array([[-5.0, -5, 1], [-1, -5, 1], [-1, -1, 1]])
    raster = draw(points, jnp.array([[0, 1, 2]]), 4, 6)
    assert (np.asarray(raster.triangle) == -1).all()
    assert (np.asarray(raster.barycentric) == 0).all()


@pytest.mark.parametrize("turn", [0.0, 0.3, 1.1])
@pytest.mark.parametrize("scale", [1.0, 7.3, 100.0])
def test_closed_mesh_has_no_holes(turn, scale):
    """Every centre that the outline of a convex body surely holds is covered."""
    vertices, faces = sphere(24, 16)
    rotation = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    points = vertices @ rotation.T * 60 * scale + [64.5, 64.5, 0]
    triangle = np.asarray(
        draw(jnp.asarray(points, jnp.float32), jnp.asarray(faces), 128, 128).triangle
    )
    x, y = np.meshgrid(np.arange(128) + 0.5, np.arange(128) + 0.5)
    # 24 x 16 facets keep within 4 % of the sphere.
    inside = np.hypot(x - 64.5, y - 64.5) < 60 * scale * 0.96
    assert inside.sum() > 10000
    assert (triangle[inside] >= 0).all()


def test_vertices_and_edges_on_pixel_centres_leave_no_gap_and_low_id_wins():
    vertices, faces = plane(9, 9)
    points = np.pad((vertices * 4 + 0.5).astype(np.float32), [(0, 0), (0, 1)])
    raster = draw(jnp.asarray(points), jnp.asarray(faces), 33, 33)
    triangle = np.asarray(raster.triangle)
    assert (triangle >= 0).all()
    # Equal depth everywhere: the first triangle that holds the centre exactly.
    x, y = np.meshgrid(np.arange(33) + 0.5, np.arange(33) + 0.5)
    for row, column in ((4, 4), (8, 2), (0, 0), (32, 32), (6, 6)):
        holding = []
        for index, corners in enumerate(points[faces][..., :2].astype(np.float64)):
            system = np.concatenate([corners.T, np.ones((1, 3))])
            target = [x[row, column], y[row, column], 1]
            if (np.linalg.solve(system, target) >= -1e-12).all():
                holding.append(index)
        assert triangle[row, column] == min(holding)


def test_vmap_is_a_loop(rng):
    """Frames with different amounts of work, drawn together and one by one."""
    vertices, faces = sphere(40, 30)
    frames = np.stack(
        [vertices * scale + [32, 32, 0] for scale in (3.0, 25.0, 400.0)]
    ).astype(np.float32)
    one = functools.partial(rasterize, faces=jnp.asarray(faces), height=64, width=64)
    together = jax.jit(jax.vmap(one))(frames)
    for index, frame in enumerate(frames):
        alone = jax.jit(one)(jnp.asarray(frame))
        np.testing.assert_array_equal(together.triangle[index], alone.triangle)
        np.testing.assert_allclose(together.depth[index], alone.depth, rtol=1e-5)


def test_more_blocks_than_one_turn_of_the_loop(rng):
    """Layers over the whole screen: the nearest one shows, wherever it is listed."""
    depth = rng.permutation(40).astype(np.float32) + 1
    corners = np.array([[-10, -10], [600, -10], [-10, 600]], np.float32)
    points = np.concatenate(
        [np.tile(corners, (40, 1)), np.repeat(depth, 3)[:, None]], axis=1
    )
    raster = draw(
        jnp.asarray(points), jnp.arange(120).reshape(40, 3), 256, 256
    )  # 4096 blocks a layer
    assert (np.asarray(raster.triangle) == depth.argmin()).all()


def test_perspective_weights_find_the_point_on_the_surface(rng):
    """A 3D attribute interpolated on the screen is the 3D point of the pixel's ray."""
    focal, size = 50.0, 64
    camera = np.array([[-30, -25, 60], [40, -20, 200], [-10, 60, 110]], np.float64)
    pixels = camera[:, :2] / camera[:, 2:] * focal + size / 2
    points = jnp.asarray(np.concatenate([pixels, camera[:, 2:]], 1), jnp.float32)
    faces = jnp.array([[0, 1, 2]])
    raster = draw(points, faces, size, size, near_plane=1.0)
    seen = np.asarray(raster.triangle) == 0
    weights = raster.barycentric
    position = np.asarray(
        interpolate(jnp.asarray(camera, jnp.float32), faces, raster.triangle, weights)
    )
    normal = np.cross(camera[1] - camera[0], camera[2] - camera[0])
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    ray = np.stack([(x - 32) / focal, (y - 32) / focal, np.ones_like(x)], -1)
    expected = ray * ((normal @ camera[0]) / (ray @ normal))[..., None]
    np.testing.assert_allclose(position[seen], expected[seen], atol=2e-2)
    np.testing.assert_allclose(
        np.asarray(raster.depth)[seen], expected[seen][:, 2], rtol=1e-4
    )
    assert (np.asarray(weights)[~seen] == 0).all()
    assert seen.sum() > 500


@pytest.mark.parametrize("near_plane", [None, 10.0], ids=["weak", "pinhole"])
def test_gradient_of_what_is_seen(rng, near_plane):
    points, faces = random_triangles(rng, 12, 16, 6.0)
    points, faces = jnp.asarray(points, jnp.float32), jnp.asarray(faces)
    values = jnp.asarray(rng.normal(size=(36, 1)), jnp.float32)
    step = 1e-3 * jnp.asarray(rng.normal(size=(36, 3)) * [1, 1, 100], jnp.float32)
    triangle, before, after = (
        draw(moved, faces, 16, 16, near_plane=near_plane).triangle
        for moved in (points, points - step, points + step)
    )
    kept = (triangle >= 0) & (triangle == before) & (triangle == after)

    def value(points):
        raster = draw(points, faces, 16, 16, near_plane=near_plane)
        seen = interpolate(values, faces, raster.triangle, raster.barycentric)
        return jnp.sum(jnp.where(kept, seen[..., 0] ** 2 + raster.depth / 1000, 0))

    slope = jnp.vdot(jax.grad(value)(points), step)
    numeric = (value(points + step) - value(points - step)) / 2
    np.testing.assert_allclose(slope, numeric, rtol=0.03)


def test_more_work_than_can_be_numbered_is_refused():
    faces = np.zeros((100_000, 3), np.int32)
    with pytest.raises(InputError, match=r"100000 triangles .* 1024 x 1024"):
        rasterize(jnp.zeros((3, 3)), faces, 1024, 1024)


@pytest.mark.full
def test_a_photo_of_a_whole_head(rng):
    """1334 x 2048 px, 11 k triangles: sampled pixels against a float64 ray test."""
    height, width = 2048, 1334
    vertices, faces = sphere(106, 54)
    assert len(faces) > 11_000
    points = np.float32(vertices * [500, 800, 300] + [667, 1000, 1000])
    raster = draw(jnp.asarray(points), jnp.asarray(faces), height, width)
    triangle, depth = np.asarray(raster.triangle), np.asarray(raster.depth)
    corners = np.float64(points)[faces]
    rows, columns = rng.integers(0, height, 400), rng.integers(0, width, 400)
    wrong = 0
    for row, column in zip(rows, columns, strict=True):
        offset = corners[:, :, :2] - [column + 0.5, row + 0.5]
        ahead = np.roll(offset, -1, axis=1)
        area = offset[..., 0] * ahead[..., 1] - offset[..., 1] * ahead[..., 0]
        total = area.sum(axis=1, keepdims=True)
        nothing = np.full_like(area, -1)  # triangles seen edge-on
        weights = np.divide(np.roll(area, -1, axis=1), total, nothing, where=total != 0)
        hit = np.flatnonzero((weights >= 0).all(axis=1))
        if not len(hit):
            wrong += triangle[row, column] != -1
            continue
        depths = (weights[hit] * corners[hit, :, 2]).sum(axis=1)
        wrong += triangle[row, column] != hit[depths.argmin()]
        assert depth[row, column] == pytest.approx(depths.min(), rel=1e-4)
    assert wrong <= 1  # a centre on an edge
