# SPDX-License-Identifier: Apache-2.0
"""The landmark map of a known head comes back from noisy 2D points."""

import numpy as np
import pytest

from i2z_jax.errors import InputError
from i2z_jax.geometry.landmark_map import (
    PosedFrame,
    derive_landmark_map,
    nearest_on_surface,
    triangulate,
)
from i2z_jax.geometry.topology import landmark_points
from i2z_jax.synth.motion import chain
from i2z_jax.synth.rig import capture_rig
from tests.synth.pattern_head import PatternHead

SIZE = 1000


@pytest.fixture(scope="module")
def head():
    return PatternHead()


def posed_frames(head, rng, *, noise_px, outliers, count=8):
    """Noisy landmarks of a moving face in six views, some of them plainly wrong."""
    rig = capture_rig(6, rng, width=SIZE, height=SIZE)
    for _ in range(count):
        vertices = head.rest + np.tensordot(rng.uniform(0, 1, 3), head.moves, axes=1)
        marks = landmark_points(head.topology, vertices)
        projections = np.array(
            [
                c.intrinsics @ chain(c.camera_from_world, rig.world_from_stage)
                for c in rig.cameras.values()
            ]
        )
        image = np.einsum("cij,lj->cli", projections[..., :3], marks)
        image += projections[:, None, :, 3]
        points = image[..., :2] / image[..., 2:]
        points += rng.normal(size=points.shape) * noise_px
        wrong = rng.random(points.shape[:2]) < outliers
        points[wrong] += rng.normal(size=(wrong.sum(), 2)) * 80
        points[rng.random(points.shape[:2]) < 0.15] = np.nan
        yield PosedFrame(vertices, projections, points)


@pytest.mark.parametrize(
    ("noise_px", "outliers", "limit_mm"),
    [(0.0, 0.0, 0.01), (2.0, 0.0, 0.6), (2.0, 0.08, 1.5)],
    ids=["exact", "noise", "noise and wrong detections"],
)
def test_the_known_map_comes_back(head, rng, noise_px, outliers, limit_mm):
    frames = posed_frames(head, rng, noise_px=noise_px, outliers=outliers)
    faces = head.topology.faces
    found = derive_landmark_map(frames, head.rest, faces, picture_size=SIZE)
    place = (head.rest[faces[found.faces]] * found.barycentric[..., None]).sum(axis=1)
    error = np.linalg.norm(place - landmark_points(head.topology, head.rest), axis=1)
    assert error.max() < limit_mm
    np.testing.assert_allclose(found.barycentric.sum(axis=1), 1.0, atol=1e-6)
    assert (found.spread_mm < 3 * limit_mm).all()


def test_triangulation_needs_two_views(head, rng):
    (frame,) = posed_frames(head, rng, noise_px=0.0, outliers=0.0, count=1)
    points = np.full_like(frame.points, np.nan)
    points[0] = frame.points[0]
    assert np.isnan(triangulate(frame.projections, points, robust_px=5.0)).all()
    lonely = PosedFrame(frame.vertices, frame.projections, points)
    with pytest.raises(InputError, match="no two cameras see"):
        derive_landmark_map([lonely], head.rest, head.topology.faces, picture_size=SIZE)


def test_two_views_from_one_place_tell_no_depth(head, rng):
    (frame,) = posed_frames(head, rng, noise_px=0.0, outliers=0.0, count=1)
    twice = [0, 0]
    found = triangulate(frame.projections[twice], frame.points[twice], robust_px=5.0)
    assert np.isnan(found).all()


def test_nearest_point_beats_every_sampled_point(head, rng):
    points = rng.normal(size=(30, 3)) * 100
    corners = head.rest[head.topology.faces]
    triangle, weights = nearest_on_surface(points, head.rest, head.topology.faces)
    assert (weights >= 0).all()
    nearest = (corners[triangle] * weights[..., None]).sum(axis=1)
    distance = np.linalg.norm(nearest - points, axis=1)
    samples = rng.dirichlet(np.ones(3), size=20)
    cloud = np.einsum("sk,fkd->fsd", samples, corners).reshape(-1, 3)
    cloud = np.concatenate([cloud, head.rest])
    for point, best in zip(points, distance, strict=True):
        assert best <= np.linalg.norm(cloud - point, axis=1).min() + 1e-9
