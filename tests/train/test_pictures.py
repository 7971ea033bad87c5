# SPDX-License-Identifier: Apache-2.0
"""What a sheet shows is where it should be: read back from its pixels."""

import numpy as np
import pytest

from i2z_jax.drawing import GREEN, HEAD, MARGIN, RED, TITLE
from i2z_jax.train.pictures import SIDE, face_sheet, landmarks_sheet, texture_sheet


def panel(sheet, row, column):
    y, x = TITLE + HEAD + row * SIDE, MARGIN + column * SIDE
    return sheet[y : y + SIDE, x : x + SIDE]


def centre(picture, colour):
    """Mean place, px, of the pixels of a colour; pixel centres at +0.5."""
    rows, columns = np.nonzero((picture == np.uint8(colour)).all(-1))
    return np.array([columns.mean(), rows.mean()]) + 0.5


def test_landmarks_are_drawn_where_they_are():
    size = SIDE // 2
    image = np.zeros((2, size, size, 3), np.uint8)
    truth = np.full((2, 68, 2), 20.0, np.float32)
    truth[1] = 60.0
    ours = truth + np.float32([12, -3])
    sheet = landmarks_sheet({"image": image, "landmarks": truth}, {"landmarks": ours})
    for row in range(2):
        for column in (0, 2):
            place = centre(panel(sheet, row, column), GREEN)
            np.testing.assert_allclose(place, 2 * truth[row, 0], atol=0.5)
        for column in (1, 2):
            place = centre(panel(sheet, row, column), RED)
            np.testing.assert_allclose(place, 2 * ours[row, 0], atol=0.5)


def test_the_error_map_is_dark_where_nothing_was_seen_or_nothing_is_wrong():
    texture = np.full((1, SIDE, SIDE, 3), 100, np.uint8)
    texture[:, :, :50] = 0  # not seen
    decoded = np.full(texture.shape, 100 / 255, np.float32)
    decoded[:, :100] += 0.25
    mesh = np.zeros((1, 5, 3), np.float32)
    sheet = texture_sheet(
        {"texture": texture, "vertices": mesh}, {"texture": decoded, "vertices": mesh}
    )
    # Upside down, as row 0 is v = 0.
    np.testing.assert_array_equal(panel(sheet, 0, 0)[::-1], texture[0])
    np.testing.assert_array_equal(panel(sheet, 0, 1)[::-1][150], 100)
    error = panel(sheet, 0, 2)[::-1].astype(int)
    # Viridis: (68, 1, 84) to (253, 231, 37).
    for unseen in error[:, 10]:
        np.testing.assert_allclose(unseen, [68, 1, 84], atol=2)
    np.testing.assert_allclose(error[150, 100], [68, 1, 84], atol=2)
    np.testing.assert_allclose(error[50, 100], [253, 231, 37], atol=2)


@pytest.mark.parametrize("shift", [0.0, 40.0])
def test_a_mesh_is_drawn_where_its_camera_puts_it(shift):
    """r = 0: p = f (x, -y) + t (DESIGN section 5); z points out of the face."""
    rng = np.random.default_rng(0)
    near = np.float32([20, 30, 50]) + rng.uniform(-2, 2, (40, 3)).astype(np.float32)
    far = np.float32([-60, -60, -50]) + np.zeros((39, 3), np.float32)
    vertices = np.concatenate([near, far])[None]
    pose = np.float32([[0.01, 0, 0, 0, 0.1, -0.2]])
    batch = {
        "image": np.zeros((1, 64, 64, 3), np.uint8),
        "pose": pose,
        "vertices": vertices,
    }
    predicted = {"pose": pose, "vertices": vertices + np.float32([shift, 0, 0])}
    sheet = face_sheet(batch, predicted)
    unit = np.array([0.01 * 20 + 0.1, -0.01 * 30 - 0.2])
    place = centre(panel(sheet, 0, 1), GREEN)
    np.testing.assert_allclose(place, (unit + 1) / 2 * SIDE, atol=1)
    ours = panel(sheet, 0, 2)
    rows, columns = np.nonzero(ours.any(-1))
    unit[0] += 0.01 * shift
    found = np.array([columns.mean(), rows.mean()]) + 0.5
    np.testing.assert_allclose(found, (unit + 1) / 2 * SIDE, atol=1)
    colour = RED if shift else GREEN  # beyond 10 mm, or right
    np.testing.assert_array_equal(ours[rows[0], columns[0]], colour)
