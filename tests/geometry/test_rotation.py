# SPDX-License-Identifier: Apache-2.0
"""Euler angles against SciPy, and the round trip near and at the pole."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from i2z_jax.geometry.rotation import euler_from_matrix, matrix_from_euler


def test_equals_scipys_extrinsic_xyz(rng):
    angles = rng.uniform(-np.pi, np.pi, (50, 3))
    expected = Rotation.from_euler("xyz", angles).as_matrix()
    np.testing.assert_allclose(matrix_from_euler(angles), expected, atol=1e-14)


def test_round_trip_of_angles(rng):
    limits = np.array([np.pi, 1.57, np.pi])
    angles = rng.uniform(-limits, limits, (3, 200, 3))
    back = euler_from_matrix(matrix_from_euler(angles))
    np.testing.assert_allclose(back, angles, atol=1e-12)


@pytest.mark.parametrize("pole", [np.pi / 2, -np.pi / 2])
def test_matrix_survives_the_pole(pole):
    matrix = matrix_from_euler(np.array([0.3, pole, -0.8]))
    back = matrix_from_euler(euler_from_matrix(matrix))
    np.testing.assert_allclose(back, matrix, atol=1e-12)


def test_jax_agrees_in_its_own_precision(rng):
    angles = rng.uniform(-1.5, 1.5, (4, 3))
    single = jnp.asarray(angles, jnp.float32)
    matrix = matrix_from_euler(single)
    assert matrix.dtype == jnp.float32
    np.testing.assert_allclose(matrix, matrix_from_euler(angles), atol=1e-6)
    np.testing.assert_allclose(euler_from_matrix(matrix), angles, atol=1e-5)
