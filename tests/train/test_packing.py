# SPDX-License-Identifier: Apache-2.0
"""Packed trees: the same arrays, and the same optimiser as without."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from i2z_jax.models.dam import DAM
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.parameters import parameter_table, split_trained
from i2z_jax.presets import TINY
from i2z_jax.sharding import LARGE
from i2z_jax.train.optim import OptimizerConfig, build_optimizer, learning_rate
from i2z_jax.train.packing import MANY, pack, unpack
from i2z_jax.train.state import TrainState
from i2z_jax.train.step import train_step

SMALL = LARGE // MANY
SHAPES = {
    "a": {"bias": (5,), "kernel": (3, 3, 2, 5)},
    # As of the colours of cameras, which are no kernel.
    "b": {"scale": (2, 3), "kernel": (7, 4), "count": ()},
    "large": {"kernel": (SMALL // 8 + 1, 8), "texel_bias": (SMALL // 2 + 1, 2)},
}


@pytest.fixture
def tree(rng):
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        SHAPES,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def test_what_was_packed_is_found_again(tree):
    packed = pack(tree)
    kernels, others = ([x.shape for x in packed[g]] for g in ("kernels", "others"))
    assert kernels == [(SMALL // 8 + 1, 8), (90 + 28,)]
    assert others == [(SMALL // 2 + 1, 2), (5 + 6 + 1,)]
    jax.tree.map(np.testing.assert_array_equal, unpack(packed, tree), tree)


@pytest.mark.parametrize("names", [["a"], ["large"], []])
def test_a_tree_may_have_one_kind_only(tree, names):
    some = {name: tree[name] for name in names}
    jax.tree.map(np.testing.assert_array_equal, unpack(pack(some), some), some)


@pytest.mark.parametrize(
    ("architecture", "sizes"), [(DAM, TINY.dam), (I2ZNet, TINY.i2z)], ids=["dam", "i2z"]
)
def test_what_is_decayed_of_a_network(architecture, sizes):
    network = nnx.eval_shape(lambda: architecture(sizes, rngs=nnx.Rngs(0)))
    _, trained, _ = split_trained(network)
    # Gains, offsets and weight normalisation's lengths are not: all else is.
    kept = {"bias", "scale", "g", "texel_bias"}
    decayed = sum(
        p.count
        for p in parameter_table(network)
        if p.trained and p.name.split(".")[-1] not in kept
    )
    assert decayed > 1e5
    packed = jax.eval_shape(pack, trained)
    assert sum(x.size for x in packed["kernels"]) == decayed


def quadratic(params, stats, frozen, batch, key):
    error = jax.tree.map(lambda p, t: jnp.sum((p - t) ** 2), params, batch)
    return sum(jax.tree.leaves(error)), ({}, stats)


def test_steps_are_optax_own_array_by_array(tree):
    """Clipping, moments, schedule, decay of kernels alone, norms: against optax as it
    is used by everybody, on the tree itself."""
    config = OptimizerConfig(
        learning_rate=1e-2, warmup_steps=2, weight_decay=0.3, clip_norm=0.5
    )
    target = jax.tree.map(lambda x: x[::-1] + 1 if x.ndim else x + 1, tree)
    state = TrainState.create(tree, {}, build_optimizer(config, 6))
    step = jax.jit(
        partial(
            train_step,
            objective=quadratic,
            optimizer=build_optimizer(config, 6),
            seed=0,
        )
    )
    theirs = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.adamw(
            learning_rate(config, 6),
            weight_decay=0.3,
            mask={part: {n: n == "kernel" for n in SHAPES[part]} for part in SHAPES},
        ),
    )
    params, moments = tree, theirs.init(tree)
    for _ in range(5):
        state, metrics = step(state, {}, target)
        grads = jax.tree.map(lambda p, t: 2 * (p - t), params, target)
        updates, moments = theirs.update(grads, moments, params)
        params = optax.apply_updates(params, updates)
        close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
        jax.tree.map(close, state.params, params)
        close(metrics["grad_norm"], optax.tree.norm(grads))
        close(metrics["param_norm"], optax.tree.norm(params))


def test_loops_do_not_grow_with_the_number_of_arrays():
    def loops(arrays: int) -> int:
        params = {f"w{i}": {"kernel": jnp.ones((3, 4))} for i in range(arrays)}
        optimizer = build_optimizer(OptimizerConfig(weight_decay=0.1), 10)
        step = partial(train_step, objective=quadratic, optimizer=optimizer, seed=0)
        state = TrainState.create(params, {}, optimizer)
        text = jax.jit(step).lower(state, {}, params).compile().as_text()
        return len(re.findall(r" fusion\(", text))

    few, many = loops(10), loops(40)
    # An array is cut from its vector, and has its gradient.
    assert (many - few) / 30 < 4, (few, many)
