# SPDX-License-Identifier: Apache-2.0
"""Metrics by hand, and against other formulas of the same thing."""

import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.evaluate import metrics
from i2z_jax.geometry.rotation import matrix_from_euler
from i2z_jax.objectives.landmarks import normalised_mean_error

FACE = np.array([[0.01, 0.1, -0.3, 0.2, 0.05, -0.02]])
CORNERS = np.array([[[-50.0, 50, 0], [50, 50, 0], [0, -60, 30]]])


def test_a_perfect_prediction_scores_zero():
    points = np.random.default_rng(0).normal(size=(2, 68, 2))
    assert not metrics.distance(points, points).any()
    assert metrics.pose_distance(FACE, FACE, CORNERS) == 0
    assert metrics.rotation_angle(FACE, FACE) == 0
    assert not metrics.landmark_error(points, points).any()
    texture, weight = np.ones((4, 4, 3)), np.ones((4, 4))
    assert metrics.colour_difference(texture, texture, weight) == 0
    assert metrics.psnr(0.0) == np.inf
    assert metrics.area_under_curve(np.zeros(5), 0.08) == 1
    assert metrics.failure_rate(np.zeros(5), 0.08) == 0


def test_a_shifted_pose_is_as_many_pixels_of_a_256_crop():
    moved = FACE + np.array([0, 0, 0, 0, 3 / 128, 4 / 128])
    assert metrics.pose_distance(FACE, moved, CORNERS) == pytest.approx(5.0)


def test_scale_is_measured_where_the_vertices_are():
    # A point 100 mm from the origin, seen at f = 0.01: 1 % of scale is 1.28 px.
    vertex = np.array([[[100.0, 0, 0]]])
    pose = np.array([[0.01, 0, 0, 0, 0, 0]])
    wider = pose * [1.01, 1, 1, 1, 1, 1]
    assert metrics.pose_distance(wider, pose, vertex) == pytest.approx(1.28)


def test_rotation_angle_is_geodesic():
    rng = np.random.default_rng(1)
    poses = np.concatenate([np.ones((50, 1)), rng.uniform(-1.5, 1.5, (50, 5))], 1)
    a, b = poses[:25], poses[25:]
    between = matrix_from_euler(a[:, 1:4]) @ np.swapaxes(
        matrix_from_euler(b[:, 1:4]), -1, -2
    )
    cosine = (np.trace(between, axis1=-2, axis2=-1) - 1) / 2
    expected = np.degrees(np.arccos(cosine))
    np.testing.assert_allclose(metrics.rotation_angle(a, b), expected, atol=1e-6)


def test_rotation_angle_near_zero_keeps_its_digits():
    tiny = FACE + np.array([0, 0, 0, 1e-6, 0, 0])
    assert metrics.rotation_angle(tiny, FACE) == pytest.approx(
        np.degrees(1e-6), rel=1e-6
    )


def test_colours_count_where_the_weight_is():
    texture = np.zeros((2, 2, 3))
    truth = np.zeros((2, 2, 3))
    truth[0, 0] = (0.3, 0.6, 0.9)  # mean 0.6
    truth[1, 1] = 1.0  # not counted
    weight = np.array([[1.0, 1.0], [1.0, 0.0]])
    assert metrics.colour_difference(texture, truth, weight) == pytest.approx(0.2)
    squared = metrics.squared_colour_difference(texture, truth, weight)
    assert squared == pytest.approx((0.09 + 0.36 + 0.81) / 3 / 3)
    assert np.isnan(metrics.colour_difference(texture, truth, 0 * weight))


def test_losses_of_multiface_as_its_test_computes_them():
    """With colours and vertices standardised, as its networks have them."""
    rng = np.random.default_rng(7)
    mean, deviation = rng.uniform(50, 200, (4, 4, 3)), 20.0
    seen, guess = rng.uniform(1, 255, (2, 4, 4, 3))
    seen[0, :, 1] = 0
    mask = np.where(seen == 0, 0.0, 1.0)
    ours, theirs = ((x - mean) / deviation for x in (guess, seen))
    ours, theirs = ((x * deviation + mean) / 255 for x in (ours, theirs))
    loss = ((ours * mask - theirs * mask) ** 2).mean() * 255**2 / deviation**2
    found = metrics.multiface_texture_mse(guess[None] / 255, seen[None] / 255)
    assert found == pytest.approx(loss * deviation**2)
    mesh, other = rng.normal(size=(2, 1, 7, 3))
    loss = ((mesh / 3.0 - other / 3.0) ** 2).mean()
    found = metrics.multiface_vertex_mse(mesh, other, np.array(9.0))
    assert found == pytest.approx(loss)


def test_psnr_of_a_tenth_is_twenty_decibel():
    assert metrics.psnr(0.1**2) == pytest.approx(20)


def test_what_is_no_number_is_not_perfect():
    assert np.isnan(metrics.psnr(np.nan))
    errors = np.array([0.02, np.nan, 0.06, np.inf])
    assert metrics.failure_rate(errors, 0.08) == 0.5
    assert metrics.area_under_curve(errors, 0.08) == pytest.approx((6 + 2) / 8 / 4)


def square_face() -> np.ndarray:
    """Points in the middle, apart from the corners of a 40 x 90 box and the eyes."""
    points = np.full((68, 2), 50.0)
    points[0], points[16] = (30, 5), (70, 95)
    points[36:42], points[42:48] = (38, 40), (62, 40)
    points[36], points[45] = (35, 40), (65, 40)
    return points


@pytest.mark.parametrize(
    ("normaliser", "length"),
    [
        ("inter-ocular", 30.0),
        # Five of six points at 38 and 62, one at 35 and 65: middles 37.5 and 62.5.
        ("inter-pupil", 25.0),
        ("box", 60.0),
    ],
)
def test_normalisers(normaliser, length):
    truth = square_face()[None]
    assert metrics.landmark_scale(truth, normaliser) == pytest.approx(length)
    moved = truth + np.array([3.0, 4.0])
    error = metrics.landmark_error(moved, truth, normaliser)
    assert error == pytest.approx(5 / length)


def test_inter_ocular_is_what_training_reports():
    rng = np.random.default_rng(2)
    points, truth = rng.uniform(0, 64, (2, 3, 68, 2)).astype(np.float32)
    np.testing.assert_allclose(
        metrics.landmark_error(points, truth),
        normalised_mean_error(jnp.asarray(points), jnp.asarray(truth)),
        rtol=1e-4,
    )


def test_area_under_the_curve_is_its_integral():
    errors = np.random.default_rng(3).exponential(0.05, 200)
    grid = np.linspace(0, 0.08, 20_001)
    shares = (errors[None] <= grid[:, None]).mean(1)
    integral = np.trapezoid(shares, grid) / 0.08
    assert metrics.area_under_curve(errors, 0.08) == pytest.approx(integral, abs=1e-4)
    assert metrics.failure_rate(errors, 0.08) == pytest.approx(1 - shares[-1])


def test_even_motion_does_not_shake():
    x = np.arange(3.0)[:, None, None] * [1.0, -2.0]
    assert metrics.second_difference(*x) == 0
    assert metrics.second_difference(x[0], x[1] + [3, 4], x[2]) == pytest.approx(10)


def test_gap_closed():
    assert metrics.gap_closed(5.0, 3.5, 2.0) == pytest.approx(0.5)
    assert metrics.gap_closed(5.0, 6.5, 2.0) == pytest.approx(-0.5)
    assert metrics.gap_closed(2.0, 1.0, 2.0) is None


@pytest.mark.parametrize("name", ["pose_distance", "rotation_angle"])
def test_jax_and_numpy_agree(name):
    other = FACE + np.array([0.001, 0.2, 0.1, -0.1, 0.1, 0])
    vertices = (CORNERS,) if name == "pose_distance" else ()
    function = getattr(metrics, name)
    ours = function(*(jnp.float32(x) for x in (FACE, other, *vertices)))
    np.testing.assert_allclose(ours, function(FACE, other, *vertices), rtol=1e-5)
