# SPDX-License-Identifier: Apache-2.0
"""Which triangle does each pixel see: a z-buffer in pure JAX (DESIGN section 5).

Projected vertices go in, triangle ids, barycentrics and depth come out; `render`
and `unwrap` build on them. No compiled extension: the same program runs on CPU, GPU
and TPU, under `jit` and `vmap`.

**How.** The bounding box of every triangle is cut into blocks of `BLOCK` x `BLOCK`
pixels. A running sum over the triangles numbers all blocks of the frame, and a loop
takes `CHUNK` of them at a time, whichever triangles they belong to: eleven thousand
specks and one triangle over the whole screen cost what their boxes cover, and no
triangle is ever skipped for lack of room. A block's pixels are tested against its
triangle and merged into the frame by two scatter-minima, depth first, then the lowest
triangle id among equal depths: the result does not depend on the order of the work.

**No holes.** A pixel belongs to a triangle when its centre is inside or on the edge,
within a bound on the rounding error of the test. So every centre that the exact
triangle covers is covered, and neighbours leave no gap; a centre on a shared edge
goes to the nearer triangle, and at equal depth to the lower id.

**Memory** beyond the output: a few frames of int32, and at most `16 * CHUNK *
BLOCK**2` pixel tests at a time (about 20 MB), whatever the mesh; the barycentrics
hold the corners of every pixel's triangle (36 bytes per pixel).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from i2z_jax.errors import InputError
from i2z_jax.types import Array, ArrayLike, Float, Int

BLOCK = 4
# Blocks of a turn. A CPU pays for those that a small mesh does not fill.
CHUNK = 2048
# Four roundings of 2^-24 each on either product of an edge function, and a little.
ROUNDING = 2.0**-21
# Int32 order of a depth that nothing can lie behind.
FARTHEST = jnp.iinfo(jnp.int32).max


class Raster(NamedTuple):
    """What each pixel sees."""

    triangle: Int[Array, "*b h w"]
    """Index into `faces`, -1 for background."""
    barycentric: Float[Array, "*b h w 3"]
    """Where on the triangle: weights of its corners, zero on background."""
    depth: Float[Array, "*b h w"]
    """Depth at the pixel centre in the unit of the input, inf on background."""


def require_drawable(triangles: int, height: int, width: int) -> None:
    """Refuse more triangles x pixels than can be numbered (2^36).

    25,000 triangles may be drawn at 1334 x 2048 px.

    Raises:
        InputError: there are more.
    """
    if triangles * -(-height // BLOCK) * -(-width // BLOCK) >= 2**32:
        raise InputError(
            f"{triangles} triangles are too many for {width} x {height} pixels",
            fix="choose a smaller picture or mesh",
        )


@jax.named_scope("rasterize")
def rasterize(
    points: Float[Array, "n 3"],
    faces: Int[ArrayLike, "tri 3"],
    height: int,
    width: int,
    *,
    near_plane: float | None = None,
) -> Raster:
    """Find the nearest triangle of every pixel, and the point on it that is seen.

    Triangles are drawn whichever way they wind. Those without area, or with a corner
    that is not finite, are left out. Differentiable in the points, but for which
    triangle a pixel sees.

    In a program sharded over frames call it inside `jax.shard_map`: the loop asks
    whether any frame of its batch has work left, which must stay a local question.

    Args:
        points: vertices in the image: x to the right, y down, both in pixels with
            centres at +0.5, and depth growing away from the camera.
        faces: vertex indices of the triangles.
        height: rows of the image.
        width: columns of the image.
        near_plane: None under weak perspective, where depth is affine over a triangle
            and may have any sign. A number for a pinhole camera, where 1/depth is:
            triangles that reach closer than it are left out whole, not clipped.

    Raises:
        InputError: as `require_drawable`.
    """
    faces, points = jnp.asarray(faces), points.astype(jnp.float32)
    fixed = jax.lax.stop_gradient(points)
    triangle = _draw(fixed, faces, height, width, near_plane).triangle
    assert triangle is not None
    triangle = jnp.where(triangle == len(faces), -1, triangle)
    barycentric = _screen_barycentric(points, faces, triangle)
    corner_depth = _corners(points[:, 2], faces, triangle)
    if near_plane is not None:
        # What is affine on the surface is affine on the screen when over its depth.
        weights = barycentric / corner_depth
        total = jnp.sum(weights, axis=-1, keepdims=True)
        seen = total > 0
        barycentric = jnp.where(seen, weights / jnp.where(seen, total, 1), 0)
    depth = jnp.sum(barycentric * corner_depth, axis=-1)
    return Raster(triangle, barycentric, jnp.where(triangle < 0, jnp.inf, depth))


@jax.named_scope("depth_buffer")
def depth_buffer(
    points: Float[Array, "n 3"],
    faces: Int[ArrayLike, "tri 3"],
    height: int,
    width: int,
) -> Float[Array, "h w"]:
    """`rasterize(...).depth` to rounding, for those who need no more: half its time.

    Under weak perspective. Args and Raises as there; inf on background.
    """
    points = jax.lax.stop_gradient(points.astype(jnp.float32))
    nearest = _draw(
        points, jnp.asarray(faces), height, width, None, with_triangle=False
    ).nearest
    depth = _from_sortable(nearest)
    return jnp.where(nearest == FARTHEST, jnp.inf, depth)


def _screen_barycentric(points, faces, triangle):
    """Affine weights of pixel centres on the screen, zero on background.

    They are held to [0, 1], so that a centre accepted within rounding, or a sliver,
    never extrapolates.
    """
    height, width = triangle.shape
    x = jnp.arange(width, dtype=points.dtype)[None, :] + 0.5
    y = jnp.arange(height, dtype=points.dtype)[:, None] + 0.5
    corners = _corners(points[:, :2], faces, triangle)
    inside = jnp.maximum(jnp.stack(_edges(corners, x, y), axis=-1), 0)
    total = jnp.sum(inside, axis=-1, keepdims=True)
    valid = (triangle >= 0)[..., None] & (total > 0)
    return jnp.where(valid, inside / jnp.where(valid, total, 1), 0)


def interpolate(
    attributes: Float[Array, "n c"],
    faces: Int[ArrayLike, "tri 3"],
    triangle: Int[ArrayLike, "*b"],
    barycentric: Float[ArrayLike, "*b 3"],
) -> Float[Array, "*b c"]:
    """Vertex attributes at positions on triangles: pixels of a raster, or texels.

    `faces` indexes `attributes`, so UVs go with the UV faces. Zero where the weights
    are zero.
    """
    corner = jnp.asarray(faces)[jnp.maximum(jnp.asarray(triangle), 0)]
    weight = jnp.asarray(barycentric)
    # Not by `jnp.sum`: a CPU takes 30 times as long over an axis of three.
    a, b, c = (attributes[corner[..., i]] * weight[..., i, None] for i in range(3))
    return a + b + c


def _corners(attributes, faces, triangle):
    """Attributes of the corners of given triangles; of triangle 0 on background."""
    return attributes[faces[jnp.maximum(triangle, 0)]]


class _Work(NamedTuple):
    """State of the loop: the next block and the frame so far."""

    block: Int[Array, ""]
    # Order of depth, FARTHEST on background.
    nearest: Int[Array, "*hw"]
    # The number of triangles on background; None if nobody asks.
    triangle: Int[Array, "*hw"] | None


def _draw(points, faces, height, width, near_plane, *, with_triangle=True) -> _Work:
    """All triangles into an empty frame.

    Raises:
        InputError: too many triangles and pixels.
    """
    require_drawable(len(faces), height, width)
    corners = points[faces]
    first, last = _pixel_bounds(corners, height, width, near_plane)
    blocks = jnp.maximum((last - first) // BLOCK + 1, 0).astype(jnp.uint32)
    counts = blocks[:, 0] * blocks[:, 1]
    ends = jnp.cumsum(counts)
    if near_plane is not None:
        # The order of -1/depth is the order of depth, and it is affine on the screen.
        corners = corners.at[..., 2].set(-1 / corners[..., 2])
    offsets = jnp.arange(BLOCK)
    # Every turn passes over the frame once, so larger frames take more per turn.
    chunk = min(max(CHUNK, height * width // 128), 16 * CHUNK)

    def draw_chunk(work: _Work) -> _Work:
        block = work.block + jnp.arange(chunk, dtype=jnp.uint32)
        face = jnp.searchsorted(ends, block, side="right", method="scan_unrolled")
        face = jnp.minimum(face, len(faces) - 1)
        # A block's number within its triangle, then its place in the box.
        number = block - (ends[face] - counts[face])
        across = jnp.maximum(blocks[face, 0], 1)
        corner = first[face] + BLOCK * jnp.stack(
            [number % across, number // across], axis=-1
        ).astype(jnp.int32)
        # Blocks last: the long axis is the one to vectorise over.
        column = corner[None, None, :, 0] + offsets[None, :, None]
        row = corner[None, None, :, 1] + offsets[:, None, None]
        key, inside = _test_pixels(corners[face][None, None], column, row)
        inside &= (block < ends[-1])[None, None]
        inside &= column <= last[None, None, face, 0]
        inside &= row <= last[None, None, face, 1]
        # Pixels outside are sent beyond the frame, where a scatter drops them.
        pixel = jnp.where(inside, row * width + column, height * width).ravel()
        key, face = key.ravel(), jnp.tile(face, BLOCK**2)
        nearest = work.nearest.at[pixel].min(key, mode="drop")
        if work.triangle is None:
            return _Work(work.block + chunk, nearest, None)
        triangle = jnp.where(nearest < work.nearest, len(faces), work.triangle)
        ahead = key == nearest.at[pixel].get(mode="fill", fill_value=0)
        triangle = triangle.at[jnp.where(ahead, pixel, height * width)].min(
            face, mode="drop"
        )
        return _Work(work.block + chunk, nearest, triangle)

    work = jax.lax.while_loop(
        lambda work: work.block < ends[-1],
        draw_chunk,
        _Work(
            jnp.uint32(0),
            jnp.full(height * width, FARTHEST, jnp.int32),
            jnp.full(height * width, len(faces), jnp.int32) if with_triangle else None,
        ),
    )
    return jax.tree.map(lambda x: x.reshape(height, width) if x.ndim else x, work)


def _pixel_bounds(corners, height, width, near_plane):
    """First and last pixel (column, row) whose centre a triangle's box holds.

    Last before first where there is none: off screen, between centres, left out.
    """
    low, high = corners[..., :2].min(axis=1), corners[..., :2].max(axis=1)
    extent = jnp.max(high - low, axis=-1)
    drawn = jnp.all(jnp.isfinite(corners), axis=(1, 2))
    drawn &= jnp.abs(_double_area(corners)) > ROUNDING * extent**2
    if near_plane is not None:
        drawn &= jnp.all(corners[..., 2] >= near_plane, axis=1)
    size = jnp.array([width, height])
    # Clipped as floats: what is far off screen does not fit an int32.
    first = jnp.clip(jnp.ceil(low - 0.5), 0, size[None])
    last = jnp.clip(jnp.floor(high - 0.5), -1, size[None] - 1)
    drawn &= jnp.all(first <= last, axis=-1)
    first = jnp.where(drawn[:, None], first, 0).astype(jnp.int32)
    # An empty box: far enough below `first` that it has no block in either direction.
    last = jnp.where(drawn[:, None], last, -BLOCK).astype(jnp.int32)
    return first, last


def _test_pixels(corners, column, row):
    """Depth order of pixel centres in their block's triangle, and whether inside."""
    edges = _edges(corners, column + 0.5, row + 0.5)
    lengths = [
        jnp.sum(jnp.abs(end - start)[..., :2], axis=-1)
        for start, end in _edge_ends(corners)
    ]
    longest = functools.reduce(jnp.maximum, lengths)
    inside = functools.reduce(
        jnp.logical_and,
        (
            edge >= -ROUNDING * length * longest
            for edge, length in zip(edges, lengths, strict=True)
        ),
    )
    weights = [jnp.maximum(edge, 0) for edge in edges]
    total = sum(weights)
    depth = sum(weight * corners[..., i, 2] for i, weight in enumerate(weights))
    return _sortable(depth / jnp.where(total > 0, total, 1)), inside & (total > 0)


def _edges(corners, x, y):
    """Twice the area that a point spans with the edge opposite each corner.

    Positive inside, whichever way the triangle winds. One array per corner.
    """
    side = jnp.sign(_double_area(corners))
    return [
        side
        * (
            (end[..., 0] - start[..., 0]) * (y - start[..., 1])
            - (end[..., 1] - start[..., 1]) * (x - start[..., 0])
        )
        for start, end in _edge_ends(corners)
    ]


def _edge_ends(corners):
    return [(corners[..., i - 2, :], corners[..., i - 1, :]) for i in range(3)]


def _double_area(corners):
    one = corners[..., 1, :] - corners[..., 0, :]
    two = corners[..., 2, :] - corners[..., 0, :]
    return one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]


def _sortable(depth):
    """Int32 in the order of float32: integer minima are native everywhere."""
    bits = jax.lax.bitcast_convert_type(depth, jnp.int32)
    return jnp.where(bits < 0, bits ^ FARTHEST, bits)


def _from_sortable(key):
    """The float32 that `_sortable` made this of: it is its own inverse on the bits."""
    bits = jnp.where(key < 0, key ^ FARTHEST, key)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)
