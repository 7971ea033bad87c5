# SPDX-License-Identifier: Apache-2.0
"""What part of a panel a face is drawn on."""

from types import SimpleNamespace

import numpy as np
import pytest

from i2z_jax.report.overlay import Overlay

WIDTH, HEIGHT, SIDE = 160, 120, 64


@pytest.mark.parametrize("left", [20.5, -30.0, 130.0])
@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_the_part_holds_all_of_the_window_that_is_in_the_panel(left, turn):
    panel = SimpleNamespace(window=SIDE, size=(WIDTH, HEIGHT))
    c, s = np.cos(turn), np.sin(turn)
    place = np.array([[c, -s, left], [s, c, 25.0]])
    rows, columns, to_part = Overlay._covered(panel, place)
    u, v = np.meshgrid(np.linspace(0, SIDE, 40), np.linspace(0, SIDE, 40))
    points = np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
    x, y = place @ points
    seen = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
    assert seen.any()
    inside = (x >= columns.start) & (x < columns.stop)
    inside &= (y >= rows.start) & (y < rows.stop)
    assert inside[seen].all()
    np.testing.assert_allclose(to_part @ points, [x - columns.start, y - rows.start])


@pytest.mark.parametrize("left", [-900.0, 900.0])
def test_of_a_face_out_of_the_picture_there_is_none(left):
    panel = SimpleNamespace(window=SIDE, size=(WIDTH, HEIGHT))
    rows, columns, _ = Overlay._covered(panel, np.array([[1.0, 0, left], [0, 1.0, 25]]))
    assert np.zeros((HEIGHT, WIDTH))[rows, columns].size == 0
