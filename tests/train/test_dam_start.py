# SPDX-License-Identifier: Apache-2.0
"""A fresh appearance model that starts as the PCA of its meshes."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from i2z_jax.config import DAMConfig
from i2z_jax.models.dam import DAM
from i2z_jax.models.parameters import Keys
from i2z_jax.objectives.dam import DAMWeights
from i2z_jax.train.dam_start import start_from_meshes

CONFIG = DAMConfig(z_size=8, vertices=40, texture_size=8)
RANK = 5
PUBLISHED = DAMWeights()


@pytest.fixture
def meshes(rng):
    """Mixtures of five shapes, the largest a hundred times the smallest, mm."""
    shapes = rng.normal(size=(RANK, 40, 3)) * np.logspace(1, -1, RANK)[:, None, None]
    neutral = 50 * rng.normal(size=(40, 3))
    return neutral + np.einsum("mk,knc->mnc", rng.normal(size=(300, RANK)), shapes)


def started(meshes, config=CONFIG, weights=PUBLISHED):
    dam = DAM(config, rngs=Keys(0))
    mean = meshes.mean(0)
    dam.statistics.set(vert_mean=mean, vert_var=((meshes - mean) ** 2).mean())
    start_from_meshes(dam, meshes[:200], weights)
    return dam


def textures(meshes, value=0.3):
    return jnp.full((len(meshes), 8, 8, 3), value)


def encoded(dam, meshes, **texture):
    return dam.encode(jnp.asarray(meshes, jnp.float32), textures(meshes, **texture))


def mean_error_mm(dam, meshes):
    back = dam.decode_vertices(encoded(dam, meshes).mean)
    return np.linalg.norm(np.asarray(back) - meshes, axis=-1).mean()


def test_meshes_it_has_never_seen_come_back(meshes):
    assert mean_error_mm(started(meshes), meshes[200:]) < 1e-3


def test_with_fewer_components_it_is_the_best_linear_model(meshes):
    small = DAMConfig(z_size=3, vertices=40, texture_size=8)
    mean = meshes.mean(0).ravel()
    flat = meshes[:200].reshape(200, -1) - mean
    *_, directions = np.linalg.svd(flat, full_matrices=False)
    left = flat - flat @ directions[:3].T @ directions[:3]
    best = np.linalg.norm(left.reshape(200, 40, 3), axis=-1).mean()
    assert mean_error_mm(started(meshes, small), meshes[:200]) == pytest.approx(
        best, rel=1e-3
    )


def test_z_is_whitened_and_reads_no_texture_yet(meshes):
    dam = started(meshes)
    z = np.asarray(encoded(dam, meshes[:200]).mean)[:, :RANK]
    np.testing.assert_allclose(z.T @ z / 200, np.eye(RANK), atol=0.02)
    other = np.asarray(encoded(dam, meshes[:200], value=0.9).mean)[:, :RANK]
    np.testing.assert_allclose(other, z, atol=1e-5)


def test_the_spread_of_z_is_where_the_objective_is_lowest(meshes):
    weights = DAMWeights(vertices=2.0, kl=0.05)
    dam = started(meshes, weights=weights)
    spread = np.exp(np.asarray(encoded(dam, meshes[:1]).log_std))[0]
    scale = np.sqrt(np.asarray(dam.statistics.vert_var))
    zero = np.asarray(dam.decode_vertices(jnp.zeros((1, 8))))
    for k in range(RANK):
        # How far the mesh moves with z_k, by decoding.
        moved = np.asarray(dam.decode_vertices(jnp.eye(8)[k][None]))
        squared = np.mean(((moved - zero) / scale) ** 2)

        def loss(s, squared=squared):
            kl = (0.5 * s**2 - np.log(s)) / CONFIG.z_size
            return weights.vertices * squared * s**2 + weights.kl * kl

        best = minimize_scalar(loss, bounds=(1e-4, 2), method="bounded").x
        assert spread[k] == pytest.approx(best, rel=0.02)


def test_fewer_meshes_than_components(meshes):
    dam = DAM(CONFIG, rngs=Keys(0))
    dam.statistics.set(vert_mean=meshes[:3].mean(0), vert_var=1.0)
    start_from_meshes(dam, meshes[:3], DAMWeights())
    assert mean_error_mm(dam, meshes[:3]) < 1e-3
    assert np.isfinite(np.asarray(encoded(dam, meshes).mean)).all()
