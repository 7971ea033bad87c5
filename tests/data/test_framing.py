# SPDX-License-Identifier: Apache-2.0
"""One framing, whatever the box came from."""

import numpy as np
import pytest

from i2z_jax.data import framing


def moved(affine, point):
    return affine[:, :2] @ point + affine[:, 2]


@pytest.mark.parametrize("source", ["mesh", "detector", "landmarks"])
def test_the_crop_moves_and_grows_with_the_box(source):
    box = np.array([100.0, 80.0, 220.0, 230.0])
    once = framing.crop_for_box(box, source, 256)
    twice = framing.crop_for_box(2 * box + 37.0, source, 256)
    for point in np.array([[100.0, 80.0], [160.0, 155.0], [300.0, 10.0]]):
        np.testing.assert_allclose(moved(once, point), moved(twice, 2 * point + 37.0))
    # Square pixels: one scale for x and y, no turn.
    assert once[0, 0] == once[1, 1] > 0
    assert once[0, 1] == once[1, 0] == 0


def test_landmarks_fill_the_crop_as_the_reference_says():
    # Brows to chin 150 px, jaw 140 px wide.
    affine = framing.crop_for_box(
        np.array([100.0, 80.0, 240.0, 230.0]), "landmarks", 256
    )
    brows, chin = moved(affine, [170.0, 80.0]), moved(affine, [170.0, 230.0])
    np.testing.assert_allclose([brows[0], chin[0]], 128)
    assert chin[1] / 256 == pytest.approx(0.92, abs=0.02)
    assert brows[1] / 256 == pytest.approx(0.36, abs=0.02)


def test_neck_and_hair_do_not_move_the_mesh_box(rng):
    face = rng.normal(0, 1, (950, 2)) * 40 + 300
    far = np.full((40, 2), 900.0)
    before = framing.mesh_box(face)
    after = framing.mesh_box(np.concatenate([face, far]))
    assert np.abs(after - before).max() < 40
