# SPDX-License-Identifier: Apache-2.0
"""The shape branch: what it reads of heatmaps, and what it knows before training."""

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.models.parameters import Keys
from i2z_jax.models.shape_encoder import (
    LEAST_SPREAD,
    RIDGE,
    ShapeEncoder,
    fit_shape,
    ridge,
    shape_of,
)
from tests.models.bells import bells

fit_of = jax.jit(fit_shape)
read = jax.jit(shape_of)
said = jax.jit(lambda encoder, maps: encoder(maps))


def test_landmarks_are_read_free_of_place_and_size(rng):
    """Of one face, wherever it is, only place and size differ."""
    face = rng.uniform(-0.3, 0.3, (68, 2))
    moves = ((1.0, (0.0, 0.0)), (1.5, (0.2, -0.1)))
    maps = np.stack([bells(face * s + t) for s, t in moves])
    seen = np.asarray(read(jnp.asarray(maps)))
    np.testing.assert_allclose(seen[0][:-3], seen[1][:-3], atol=0.02)
    for (scale, shift), x in zip(moves, seen, strict=True):
        place = scale * face.mean(0) + shift
        spread = scale * np.sqrt(((face - face.mean(0)) ** 2).mean())
        np.testing.assert_allclose(x[-3:], [*place, np.log(spread)], atol=0.01)


def test_small_motions_of_landmarks_are_made_as_large_as_wide_ones(rng):
    """A head that turns, and a chin that falls by a tenth of that."""
    face = rng.uniform(-0.3, 0.3, (68, 2))
    turn, chin = rng.normal(size=(2, 68, 2)) * 0.04
    both = rng.normal(size=(60, 2))
    faces = [face + a * turn + 0.1 * b * chin for a, b in both]
    maps = jnp.asarray(np.stack([bells(points) for points in faces]))
    encoder = ShapeEncoder(68, 139, 2, dtype=jnp.float32, rngs=Keys(0))
    encoder.load_fit(fit_of(maps, jnp.asarray(both, jnp.float32)))
    encoder.to_z.kernel[...] = jnp.eye(139)
    seen = np.asarray(said(encoder, maps)[0])
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-3)
    raw = np.asarray(read(maps))
    was, now = (
        np.linalg.svd(x - x.mean(0), compute_uv=False) / np.sqrt(60)
        for x in (raw, seen)
    )
    assert was[0] > 6 * was[1]
    # A standard deviation becomes 1 as far as it is above the least.
    expected = was / np.hypot(was, LEAST_SPREAD * was[0])
    np.testing.assert_allclose(now, expected[: len(now)], atol=0.01)
    assert now[0] < 2 * now[1]
    # What is not motion is not made large.
    assert now[8] < 0.1


def test_ridge_against_least_squares_of_a_longer_system(rng):
    """Each row of the penalty is one more equation, that a weight is zero."""
    x, y = rng.normal(size=(50, 7)) + 3, rng.normal(size=(50, 2))
    x[:, 1] = x[:, 0]  # what has no solution of its own
    centred, wanted = x - x.mean(0), y - y.mean(0)
    equations = np.concatenate([centred, np.sqrt(RIDGE) * np.eye(7)])
    answers = np.concatenate([wanted, np.zeros((7, 2))])
    kernel = np.linalg.lstsq(equations, answers, rcond=None)[0]
    found, bias = ridge(jnp.float32(x), jnp.float32(y))
    np.testing.assert_allclose(found, kernel, atol=1e-3)
    np.testing.assert_allclose(
        x.mean(0) @ np.asarray(found) + bias, y.mean(0), atol=1e-4
    )


def test_the_fit_knows_what_no_line_does(rng):
    """The product of two motions: half of a linear answer's error is gone, unseen."""
    face = rng.uniform(-0.3, 0.3, (12, 2))
    motions = rng.normal(size=(2, 12, 2)) * 0.03
    weights = rng.uniform(-2, 2, size=(400, 2))
    maps = np.stack([bells(face + np.tensordot(w, motions, 1)) for w in weights])
    maps, target = jnp.asarray(maps), jnp.float32(weights.prod(1, keepdims=True))
    encoder = ShapeEncoder(12, 4, 1, dtype=jnp.float32, rngs=Keys(0))
    fit = fit_of(maps[:300], target[:300])
    encoder.load_fit(fit)
    error = np.asarray(said(encoder, maps[300:])[2] - target[300:])
    x = (read(maps) - fit.mean[None]) @ fit.whiten
    kernel, bias = ridge(x[:300], target[:300])
    of_line = x[300:] @ kernel + bias[None] - target[300:]
    assert np.square(error).mean() < 0.25 * np.square(of_line).mean()
