# SPDX-License-Identifier: Apache-2.0
"""The 68-landmark map of a mesh, from posed views with known 2D landmarks.

Multiface ships no landmarks, and other topologies have none either. A landmark
detector gives them in the pictures of calibrated cameras; per frame they are
triangulated robustly (a detector fails on some views) and dropped onto that frame's
tracked mesh; the same places on a reference mesh, over all frames, have a median, and
the nearest point of the surface to it is the landmark. NumPy, float64.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from i2z_jax.errors import InputError
from i2z_jax.geometry.topology import Topology, landmark_points
from i2z_jax.types import Bool, Float, Int, NDArray

# Residual beyond which a view counts less and less, px of its picture's 1000.
ROBUST_SHARE = 0.005
STEPS = 15


class PosedFrame(NamedTuple):
    """One moment: a tracked mesh and where cameras see its landmarks."""

    vertices: Float[NDArray, "n 3"]
    """mm"""
    projections: Float[NDArray, "c 3 4"]
    """K (R [Rf | tf] + t) of each camera: pixels from the vertices' space."""
    points: Float[NDArray, "c l 2"]
    """px, NaN where a landmark is not seen."""


class LandmarkMap(NamedTuple):
    """Places on a surface, and how well they are known."""

    faces: Int[NDArray, "l"]
    barycentric: Float[NDArray, "l 3"]
    spread_mm: Float[NDArray, "l"]
    """Median distance of single frames to the result."""


def derive_landmark_map(
    frames: Iterable[PosedFrame],
    reference: Float[NDArray, "n 3"],
    faces: Int[NDArray, "tri 3"],
    *,
    picture_size: int,
) -> LandmarkMap:
    """Find the landmarks of a topology.

    Args:
        frames: some dozen moments, with several views each.
        reference: a neutral mesh of the topology (`vert_mean.bin`), mm.
        faces: of the topology.
        picture_size: longer side of the pictures, px; the scale of the robust loss.

    Raises:
        InputError: some landmark is never seen by two cameras at once.
    """
    places = []
    for frame in frames:
        points = triangulate(
            frame.projections, frame.points, robust_px=ROBUST_SHARE * picture_size
        )
        known = np.isfinite(points).all(axis=1)
        on_reference = np.full(points.shape, np.nan)
        triangle, weights = nearest_on_surface(points[known], frame.vertices, faces)
        corners = reference[faces[triangle]]
        on_reference[known] = (corners * weights[..., None]).sum(axis=1)
        places.append(on_reference)
    found = np.array(places).reshape(len(places), -1, 3)
    never = np.flatnonzero(~np.isfinite(found).all(axis=2).any(axis=0))
    if len(places) == 0 or len(never):
        raise InputError(
            "landmarks that no two cameras see at once",
            expected="each landmark in two views of at least one frame",
            got=f"none of {', '.join(map(str, never[:8]))}" if len(places) else "none",
            fix="give more frames or cameras",
        )
    middle = np.nanmedian(found, axis=0)
    triangle, weights = nearest_on_surface(middle, reference, faces)
    result = (reference[faces[triangle]] * weights[..., None]).sum(axis=1)
    spread = np.nanmedian(np.linalg.norm(found - result[None], axis=2), axis=0)
    return LandmarkMap(triangle.astype(np.int32), weights.astype(np.float32), spread)


def with_landmarks(
    topology: Topology,
    faces: Int[NDArray, "l"],
    barycentric: Float[NDArray, "l 3"],
    neutral: Float[NDArray, "n 3"],
) -> Topology:
    """A topology with a landmark map, and the regions that follow from it.

    Args:
        faces, barycentric: triangle and weights of each of the 68.
        neutral: a mesh of the topology, head space, mm.
    """
    marked = replace(topology, landmark_faces=faces, landmark_barycentric=barycentric)
    marks = landmark_points(marked, neutral)
    return replace(marked, regions=regions_of_landmarks(neutral, marks))


def regions_of_landmarks(
    vertices: Float[NDArray, "n 3"], marks: Float[NDArray, "68 3"]
) -> dict[str, Bool[NDArray, "n"]]:
    """Vertices of eyes, mouth and jaw of an adult face, by distance to its landmarks.

    Args:
        vertices: head space, mm, y up.
        marks: the 68 landmarks of the same mesh.
    """

    def near(points, reach_mm):
        gaps = [np.linalg.norm(vertices - p, axis=1) for p in points]
        return np.min(gaps, axis=0) < reach_mm

    mouth = near(marks[48:68], 9.0)
    below = vertices[:, 1] < marks[48:68, 1].mean()
    return {
        "eyes": near([marks[36:42].mean(axis=0), marks[42:48].mean(axis=0)], 22.0),
        "mouth": mouth,
        "jaw": near(marks[3:14], 22.0) & below & ~mouth,
    }


def triangulate(
    projections: Float[NDArray, "c 3 4"],
    points: Float[NDArray, "c l 2"],
    *,
    robust_px: float,
) -> Float[NDArray, "l 3"]:
    """Points in space from their pixels in several views.

    Linear least squares on the rays first, weighted anew by each view's distance in
    pixels (Geman-McClure): a view that is far off drops out.

    Args:
        projections: pixels from space, homogeneous.
        points: px, NaN where not seen.
        robust_px: distance at which a view has lost three quarters of its weight.

    Returns:
        NaN for what fewer than two views show, or are believed to show.
    """
    seen = np.all(np.isfinite(points), axis=2)
    filled = np.where(np.isnan(points), 0.0, points)
    # x (p3 . X) - (p1 . X) = 0, and the same for y: two rows a view.
    rows = filled[..., None] * projections[:, None, 2:3] - projections[:, None, :2]
    weight = seen.astype(float)
    result = np.full((points.shape[1], 3), np.nan)
    enough = seen.sum(axis=0) >= 2
    for step in range(STEPS):
        # Divided by depth, rows measure pixels.
        if step:
            solid = np.concatenate([result, np.ones((len(result), 1))], axis=1)
            image = np.einsum("cij,lj->cli", projections, solid)
            depth = np.where(seen & enough[None], image[..., 2], 1.0)
            distance = np.linalg.norm(
                image[..., :2] / depth[..., None] - filled, axis=2
            )
            # Wide at first: the linear start may be far off for all.
            scale = robust_px * max(1.0, 32.0 / 2**step)
            weight = seen / depth**2 / (1 + (distance / scale) ** 2) ** 2
            weight = np.where(np.isfinite(weight), weight, 0.0)
        normal = np.einsum("clri,clrj,cl->lij", rows[..., :3], rows[..., :3], weight)
        right = np.einsum("clri,clr,cl->li", rows[..., :3], rows[..., 3], weight)
        # Where all views but one are taken for wrong, nothing tells the depth.
        enough &= np.linalg.matrix_rank(normal, hermitian=True) == 3
        result[~enough] = np.nan
        result[enough] = -np.linalg.solve(normal[enough], right[enough][..., None])[
            ..., 0
        ]
    return result


def nearest_on_surface(
    points: Float[NDArray, "l 3"],
    vertices: Float[NDArray, "n 3"],
    faces: Int[NDArray, "tri 3"],
) -> tuple[Int[NDArray, "l"], Float[NDArray, "l 3"]]:
    """Triangle and weights of the surface point nearest to each point."""
    corners = vertices[faces].astype(float)
    triangles, weights = [], []
    for point in points:
        candidates = _nearest_in_triangles(point, corners)
        offsets = (corners * candidates[..., None]).sum(axis=1) - point
        best = int(np.argmin((offsets**2).sum(axis=1)))
        triangles.append(best)
        weights.append(candidates[best])
    return np.array(triangles, int), np.array(weights).reshape(-1, 3)


def _nearest_in_triangles(point, corners):
    """Weights of the point of each triangle that is nearest to one point."""
    first, second, third = corners[:, 0], corners[:, 1], corners[:, 2]
    across, along, reach = second - first, third - first, point - first
    aa, ab, bb = (np.sum(p * q, axis=1) for p, q in (
        (across, across), (across, along), (along, along)))  # fmt: skip
    ar, br = np.sum(across * reach, axis=1), np.sum(along * reach, axis=1)
    area = aa * bb - ab * ab
    safe = np.where(area > 0, area, 1.0)
    v, w = (bb * ar - ab * br) / safe, (aa * br - ab * ar) / safe
    inside = (area > 0) & (v >= 0) & (w >= 0) & (v + w <= 1)
    best = np.stack([1 - v - w, v, w], axis=1)
    nearest = np.where(inside, 0.0, np.inf)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        edge = corners[:, end] - corners[:, start]
        length = np.sum(edge * edge, axis=1)
        t = np.sum(edge * (point - corners[:, start]), axis=1)
        t = np.clip(t / np.where(length > 0, length, 1.0), 0, 1)
        place = corners[:, start] + t[:, None] * edge
        gap = np.sum((place - point) ** 2, axis=1)
        closer = ~inside & (gap < nearest)
        nearest = np.where(closer, gap, nearest)
        weights = np.zeros_like(best)
        weights[:, start], weights[:, end] = 1 - t, t
        best = np.where(closer[:, None], weights, best)
    return best
