# SPDX-License-Identifier: Apache-2.0
"""The step on a linear regression whose gradient is known in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from i2z_jax.train.optim import OptimizerConfig, build_optimizer, learning_rate
from i2z_jax.train.state import TrainState
from i2z_jax.train.step import train_step


def linear(params, stats, frozen, batch, key):
    """mean |x w - y + frozen|², with a running count and a random metric."""
    error = batch["x"] @ params["w"] - batch["y"] + frozen
    loss = jnp.mean(error**2)
    return loss, ({"draw": jax.random.uniform(key)}, {"seen": stats["seen"] + 1})


@pytest.fixture
def batch(rng):
    return {
        "x": jnp.asarray(rng.normal(size=(8, 3)), jnp.float32),
        "y": jnp.asarray(rng.normal(size=8), jnp.float32),
    }


def make(microbatches=1, optimizer=None):
    optimizer = optimizer or optax.sgd(0.1)
    params = {"w": jnp.asarray([1.0, -2.0, 0.5])}
    state = TrainState.create(params, {"seen": jnp.zeros((), jnp.int32)}, optimizer)
    step = partial(
        train_step,
        objective=linear,
        optimizer=optimizer,
        seed=3,
        microbatches=microbatches,
    )
    return state, jax.jit(step)


def closed_form(batch, w):
    x, y = np.float64(batch["x"]), np.float64(batch["y"])
    return 2 / len(y) * x.T @ (x @ w - y)


@pytest.mark.parametrize("microbatches", [1, 2, 8])
def test_the_update_is_the_gradient_of_the_whole_batch(batch, microbatches):
    state, step = make(microbatches)
    after, metrics = step(state, jnp.zeros(()), batch)
    gradient = closed_form(batch, np.array([1.0, -2.0, 0.5]))
    np.testing.assert_allclose(
        after.params["w"], [1.0, -2.0, 0.5] - 0.1 * gradient, rtol=1e-5
    )
    np.testing.assert_allclose(
        metrics["grad_norm"], np.linalg.norm(gradient), rtol=1e-5
    )
    assert after.stats["seen"] == microbatches
    assert after.step == 1


def test_a_bad_batch_changes_nothing_but_the_counters(batch):
    state, step = make(optimizer=optax.adam(0.1))
    state, _ = step(state, jnp.zeros(()), batch)
    bad = {"x": batch["x"].at[0, 0].set(jnp.nan), "y": batch["y"]}
    after, metrics = step(state, jnp.zeros(()), bad)
    assert not np.isfinite(metrics["loss"])
    for kept in ("params", "stats", "opt_state"):
        jax.tree.map(
            np.testing.assert_array_equal, getattr(after, kept), getattr(state, kept)
        )
    assert (after.step, after.skipped, after.skipped_in_a_row) == (2, 1, 1)
    again, _ = step(after, jnp.zeros(()), bad)
    assert (again.skipped, again.skipped_in_a_row) == (2, 2)
    good, _ = step(again, jnp.zeros(()), batch)
    assert (good.step, good.skipped, good.skipped_in_a_row) == (4, 2, 0)
    assert not np.allclose(good.params["w"], again.params["w"])


def test_the_random_key_follows_the_step_not_the_process(batch):
    state, step = make()
    draws = []
    for _ in range(3):
        state, metrics = step(state, jnp.zeros(()), batch)
        draws.append(float(metrics["draw"]))
    assert len(set(draws)) == 3
    fresh, step = make()
    fresh = TrainState(**{**vars(fresh), "step": jnp.int32(2)})
    assert float(step(fresh, jnp.zeros(()), batch)[1]["draw"]) == draws[2]


def test_schedule_rises_then_falls():
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=10)
    rate = [float(learning_rate(config, 100)(k)) for k in range(101)]
    assert 0 < rate[0] < rate[5] < rate[10] == max(rate) == 1.0
    assert rate[50] > rate[90] > rate[100] == pytest.approx(0, abs=1e-7)


def test_weight_decay_spares_biases():
    config = OptimizerConfig(weight_decay=0.1, warmup_steps=0, decay="none")
    optimizer = build_optimizer(config, 10)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    state = TrainState.create(params, {}, optimizer)

    def nothing(params, stats, frozen, batch, key):
        return 0.0 * sum(x.sum() for x in jax.tree.leaves(params)), ({}, stats)

    after, _ = train_step(state, {}, {}, objective=nothing, optimizer=optimizer, seed=0)
    assert (after.params["kernel"] < 1).all()
    assert (after.params["bias"] == 1).all()
