# SPDX-License-Identifier: Apache-2.0
"""Curves: the points are where the values are, and gaps stay gaps."""

import re

import numpy as np

from i2z_jax.report.plots import bars, curves, nice_ticks


def polylines(svg):
    return [
        np.array([[float(v) for v in p.split(",")] for p in points.split()])
        for points in re.findall(r'<polyline points="([^"]*)"', svg)
    ]


def test_points_are_affine_in_the_values(rng):
    x, y = np.sort(rng.uniform(0, 9, 50)), rng.normal(size=50)
    (points,) = polylines(curves(x, {"a": y}, x_label="s", y_label="mm"))
    for drawn, values, sign in ((points[:, 0], x, 1), (points[:, 1], y, -1)):
        slope, offset = np.polyfit(values, drawn, 1)
        assert sign * slope > 0
        np.testing.assert_allclose(drawn, slope * values + offset, atol=0.06)


def test_a_gap_breaks_the_line_and_a_lone_value_is_a_dot():
    y = np.array([1.0, 2, np.nan, 3, np.nan, 4, 5, 6])
    svg = curves(np.arange(8), {"a": y}, x_label="s", y_label="mm")
    assert [len(p) for p in polylines(svg)] == [2, 3]
    assert svg.count("<circle") == 1


def shaded(svg):
    """Left edge and width of the spans behind the lines, px."""
    found = re.findall(r'<rect class="lost" x="([\d.]+)"[^>]* width="([\d.]+)"', svg)
    return [(float(x), float(width)) for x, width in found]


def test_spans_that_touch_are_one():
    """Of 100 seconds; the axis is 652 px long and begins at 52."""
    spans = [(60.0, 70.0), (10.0, 20.0), (20.0, 25.0), (22.0, 24.0), (90.0, 90.0)]
    x = np.linspace(0, 100, 101)
    svg = curves(x, {"a": x}, x_label="s", y_label="mm", shaded=spans)
    expected = [(117.2, 97.8), (443.2, 65.2), (638.8, 1.0)]
    np.testing.assert_allclose(shaded(svg), expected, atol=0.051)


def test_a_face_that_flickers_costs_no_more_than_the_picture_is_wide():
    x = np.arange(100_000.0)
    spans = [(t, t + 1) for t in x[::2].tolist()]
    svg = curves(x, {"a": x}, x_label="s", y_label="mm", shaded=spans)
    assert 1 <= len(shaded(svg)) <= 652


def test_nothing_and_constants_draw_too():
    for y in (np.full(5, np.nan), np.zeros(5), np.full(5, 1e9)):
        svg = curves(np.arange(5), {"a": y}, x_label="s", y_label="mm")
        assert "nan" not in svg
    assert "nan" not in curves([0.0], {"a": [1.0]}, x_label="s", y_label="mm")


def test_long_curves_are_thinned_to_their_means():
    x = np.arange(100_000)
    (points,) = polylines(curves(x, {"a": np.sin(x)}, x_label="s", y_label="mm"))
    assert len(points) < 2000
    assert np.ptp(points[:, 1]) < 60  # a fast oscillation averages out


def test_ticks_are_round_and_cover():
    for low, high in ((0.0, 1.0), (-3.2, 7.9), (1e-6, 3e-6), (995.0, 1005.0)):
        ticks = nice_ticks(low, high)
        assert ticks[0] <= low + 1e-12
        assert ticks[-1] >= high - 1e-12
        assert 2 <= len(ticks) <= 10


def test_text_is_escaped():
    svg = curves([0.0, 1.0], {"<b>": [0.0, 1.0]}, x_label="s", y_label="a & b")
    assert "<b></span>" not in svg
    assert "a &amp; b" in svg
    assert "&lt;i&gt;" in bars({"<i>": 1.0}, unit="s")
