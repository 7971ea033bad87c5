# SPDX-License-Identifier: Apache-2.0
"""Loss terms against NumPy in float64, finite differences, and one-parameter toys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from i2z_jax import losses


def arrays(rng, *shapes):
    return [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]


def test_norm_is_finite_and_flat_at_zero(rng):
    x = np.float64(rng.normal(size=(5, 3)))
    np.testing.assert_allclose(
        losses.norm(jnp.asarray(x, jnp.float32)), np.linalg.norm(x, axis=-1), atol=2e-6
    )
    zero = jnp.zeros(3)
    assert losses.norm(zero) == 0
    np.testing.assert_array_equal(jax.grad(losses.norm)(zero), np.zeros(3))


def test_charbonnier_is_quadratic_inside_and_absolute_outside():
    inside, outside = jnp.float32(1e-4), jnp.float32(1.0)
    np.testing.assert_allclose(
        losses.charbonnier(inside), 1e-8 / (2 * 1e-2), rtol=1e-2, atol=1e-9
    )
    np.testing.assert_allclose(losses.charbonnier(outside), 1 - 1e-2, rtol=1e-3)


def test_vertex_loss_is_a_distance_in_mm():
    vertices = jnp.zeros((2, 4, 3))
    moved = vertices + jnp.asarray([3.0, 0.0, 4.0])[None, None]
    np.testing.assert_allclose(losses.vertex_loss(moved, vertices), 5.0, rtol=1e-5)


def test_reprojection_of_a_translation_is_its_pixels(rng):
    (vertices,) = arrays(rng, (7, 3))
    pose = jnp.asarray([0.01, 0.1, -0.2, 0.3, 0.0, 0.0])
    moved = pose.at[4].add(2 / 128 * 3).at[5].add(2 / 128 * 4)
    distance = losses.reprojection_loss(pose, moved, vertices, image_size=128)
    np.testing.assert_allclose(distance, 5.0, rtol=1e-4)


def test_kl_against_numerical_integration():
    mean, log_std = 0.7, -0.3
    x = np.linspace(-12, 12, 200_001)
    std = np.exp(log_std)
    q = np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
    log_ratio = -0.5 * ((x - mean) / std) ** 2 - log_std + 0.5 * x**2
    expected = np.trapezoid(q * log_ratio, x)
    np.testing.assert_allclose(
        losses.kl_loss(jnp.full(1, mean), jnp.full(1, log_std))[0], expected, rtol=1e-5
    )


def contour(count=68):
    on_contour = np.zeros(count, bool)
    on_contour[:17] = True
    return jnp.asarray(on_contour)


def test_contour_points_slide_along_the_contour_only():
    # A straight horizontal jaw: moving along it is free, across it is not.
    detected = np.zeros((68, 2), np.float32)
    detected[:17, 0] = np.arange(17) * 5
    along = detected + np.float32([4, 0])
    across = detected + np.float32([0, 4])
    on_contour = contour()
    free = losses.landmark_loss(jnp.asarray(along), jnp.asarray(detected), on_contour)
    held = losses.landmark_loss(jnp.asarray(across), jnp.asarray(detected), on_contour)
    np.testing.assert_allclose(free[:17], 0.0, atol=1e-5)
    np.testing.assert_allclose(free[17:], 4.0, rtol=1e-5)
    np.testing.assert_allclose(held, 4.0, rtol=1e-5)


def test_contour_ends_take_their_tangent_from_inside():
    # Point 16's next landmark is a brow: it must not bend the tangent.
    detected = np.zeros((68, 2), np.float32)
    detected[:17, 0] = np.arange(17) * 5
    detected[17:] = [0, -100]
    points = jnp.asarray(detected + np.float32([4, 0]))
    distance = losses.landmark_loss(points, jnp.asarray(detected), contour())
    np.testing.assert_allclose(distance[np.array([0, 16])], 0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("term", "shapes", "options"),
    [
        (losses.latent_loss, [(3, 8), (3, 8)], {}),
        (losses.vertex_loss, [(3, 9, 3), (3, 9, 3)], {}),
        (losses.texture_loss, [(2, 4, 4, 3)], {}),
        (losses.heatmap_loss, [(2, 4, 4, 5), (2, 4, 4, 5)], {}),
        (losses.kl_loss, [(3, 8), (3, 8)], {}),
        (losses.texture_consistency_loss, [(2, 4, 4, 3), (2, 4, 4, 3)], {}),
        (losses.prior_loss, [(3, 8)], {"mean": jnp.ones(8), "std": jnp.full(8, 2.0)}),
        (losses.pose_loss, [(3, 6), (3, 6)], {"scale": jnp.full(6, 0.5)}),
        (
            losses.reprojection_loss,
            [(2, 6), (2, 6), (2, 9, 3)],
            {"image_size": 2},
        ),
        (
            losses.landmark_loss,
            [(68, 2), (68, 2)],
            {"on_contour": contour()},
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_gradients_against_finite_differences(rng, term, shapes, options):
    check_grads(
        lambda *a: jnp.mean(term(*map(jnp.asarray, a), **options)),
        arrays(rng, *shapes),
        order=1,
        modes=["rev"],
        eps=1e-2,
        atol=2e-3,
        rtol=3e-2,
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("vertex_loss", 2), ("texture_loss", 1), ("latent_loss", 2)],
)
def test_bfloat16_in_float32_out(rng, name, arguments):
    given = arrays(rng, *[(2, 4, 4, 3)] * arguments)
    value = getattr(losses, name)(*(a.astype(jnp.bfloat16) for a in given))
    assert value.dtype == jnp.float32


def test_the_loss_is_the_weighted_sum_of_the_terms_there_are():
    terms = {"landmarks": jnp.asarray(2.0), "prior": jnp.asarray(3.0)}
    weights = {"prior": 0.5, "replay": 7.0, "landmarks": 1.0}
    np.testing.assert_allclose(losses.weighted(terms, weights), 3.5)
