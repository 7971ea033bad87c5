# SPDX-License-Identifier: Apache-2.0
"""The video's colours are found again from texels that were given them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import sph_harm_y

from i2z_jax.objectives import colour


@pytest.fixture
def texels(rng):
    decoded = rng.uniform(0.1, 0.9, (2, 24, 24, 3))
    normals = rng.normal(size=(2, 24, 24, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    weight = (rng.uniform(size=(2, 24, 24)) > 0.3).astype(np.float64)
    return decoded, normals, weight


def float32(*arrays):
    return [jnp.asarray(a, jnp.float32) for a in arrays]


def fitted(decoded, observed, normals, weight):
    equations = colour.accumulate(
        colour.ColourEquations.empty(),
        colour.equations_of(*float32(decoded, observed, normals, weight)),
    )
    return colour.solve(equations)


def test_every_product_is_of_float32_on_a_tpu(texels):
    def corrected(decoded, normals, weight):
        equations = colour.equations_of(decoded, decoded, normals, weight)
        return colour.correct(decoded, normals, colour.solve(equations))

    lowered = jax.jit(corrected).trace(*float32(*texels))
    text = lowered.lower(lowering_platforms=("tpu",)).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) >= 4
    for line in products:
        assert "precision = [HIGHEST, HIGHEST]" in line


def test_identity_before_anything_was_seen(texels):
    decoded, normals, _ = float32(*texels)
    same = colour.correct(
        decoded, normals, colour.solve(colour.ColourEquations.empty())
    )
    np.testing.assert_allclose(same, decoded, atol=1e-6)


def test_an_affine_colour_cast_is_found(texels):
    decoded, normals, weight = texels
    matrix = np.array([[0.9, 0.2, 0.0], [0.1, 1.1, -0.1], [0.0, 0.05, 0.6]])
    offset = np.array([0.02, -0.03, 0.05])
    observed = decoded @ matrix.T + offset
    coefficients = fitted(decoded, observed, normals, weight)
    again = colour.correct(*float32(decoded, normals), coefficients)
    assert np.abs(np.float64(again) - observed).max() < 5e-3


def test_directional_light_is_found_through_true_spherical_harmonics(texels):
    decoded, normals, weight = texels
    polar = np.arccos(normals[..., 2])
    azimuth = np.arctan2(normals[..., 1], normals[..., 0])
    light = 1.0
    for degree, order, amount in [(1, 0, 0.5), (1, 1, 0.3), (2, 1, 0.2), (2, 0, -0.3)]:
        light = light + amount * sph_harm_y(degree, order, polar, azimuth).real
    observed = decoded * light[..., None]
    coefficients = fitted(decoded, observed, normals, weight)
    again = colour.correct(*float32(decoded, normals), coefficients)
    assert np.abs(np.float64(again) - observed).max() < 1e-2


def test_hidden_texels_say_nothing(texels):
    decoded, normals, weight = texels
    observed = np.where(weight[..., None] > 0, decoded * 0.5, 77.0)
    coefficients = fitted(decoded, observed, normals, weight)
    again = colour.correct(*float32(decoded, normals), coefficients)
    assert np.abs(np.float64(again) - decoded * 0.5).max() < 5e-3


def test_gain_of_each_frame(texels):
    decoded, _, weight = texels
    observed = decoded * np.array([0.7, 1.3])[:, None, None, None]
    gain = colour.frame_gain(*float32(decoded, observed, weight))
    np.testing.assert_allclose(gain, [0.7, 1.3], rtol=1e-5)
    unseen = colour.frame_gain(*float32(decoded, observed, weight * 0))
    np.testing.assert_array_equal(unseen, [1, 1])
