# SPDX-License-Identifier: Apache-2.0
"""The one training step of all four stages: gradient, guard, update, measurements."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from i2z_jax.train.packing import pack
from i2z_jax.train.state import TrainState, where
from i2z_jax.types import Array, Bool, Float, Metrics, PyTree


@runtime_checkable
class Objective(Protocol):
    """A stage's loss: a pure function of what is trained, what is not, and a batch."""

    def __call__(
        self, params: PyTree, stats: PyTree, frozen: PyTree, batch: PyTree, key: Array
    ) -> tuple[Float[Array, ""], tuple[Metrics, PyTree]]:
        """Returns the scalar loss, scalar metrics, and the updated `stats`."""
        ...


def train_step(
    state: TrainState,
    frozen: PyTree,
    batch: PyTree,
    *,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    seed: int,
    microbatches: int = 1,
) -> tuple[TrainState, Metrics]:
    """One step of any stage. Bind the keywords with `partial`, jit, donate `state`.

    A step whose loss or gradient is not finite changes nothing but its counters.

    Args:
        state: what is trained; donate it.
        frozen: weights the objective reads and never changes.
        batch: arrays with the global batch in front, a multiple of `microbatches`.
        objective: the stage.
        optimizer: from `optim.build_optimizer`.
        seed: with `state.step` it makes the step's random key, so a resumed run
            repeats the uninterrupted one.
        microbatches: the batch is worked off in this many parts, one after the
            other, and their gradients are averaged: activations of one part at a time.

    Returns:
        The next state, and scalar metrics, among them `loss`, `grad_norm`,
        `param_norm`, and the state's counters of skipped steps.
    """
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    grads, stats, metrics = _gradient(
        state, frozen, batch, key, objective, microbatches
    )
    with jax.named_scope("optimizer"):
        params, gradient = pack(state.params), pack(grads)
        metrics["grad_norm"] = optax.tree.norm(gradient)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        params, opt_state = _descend(
            optimizer, finite, (params, state.opt_state), gradient
        )
        metrics["param_norm"] = optax.tree.norm(params)
        after = state.advanced(params, stats, opt_state, finite)
        counters = ("skipped", "skipped_in_a_row")
        return after, metrics | {name: getattr(after, name) for name in counters}


def _descend(
    optimizer: optax.GradientTransformation,
    finite: Bool[Array, ""],
    old: tuple[PyTree, PyTree],
    gradient: PyTree,
) -> tuple[PyTree, PyTree]:
    """Parameters and moments after the step, or the old ones if it is not finite.

    A CPU branches: to choose for every number takes twice as long, because XLA then
    copies the moments (docs/notes/performance.md). A GPU chooses: its host would have
    to wait for a branch.
    """

    def new(old, gradient):
        params, moments = old
        updates, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, updates), moments

    def branched(finite, old, gradient):
        return lax.cond(finite, new, lambda old, _: old, old, gradient)

    def chosen(finite, old, gradient):
        return where(finite, new(old, gradient), old)

    return lax.platform_dependent(finite, old, gradient, cpu=branched, default=chosen)


def _gradient(
    state: TrainState,
    frozen: PyTree,
    batch: PyTree,
    key: Array,
    objective: Objective,
    microbatches: int,
) -> tuple[PyTree, PyTree, Metrics]:
    """Mean gradient, last statistics and mean metrics over the microbatches."""
    differentiate = jax.value_and_grad(objective, has_aux=True)

    def one(stats: PyTree, part: PyTree, key: Array):
        (loss, (metrics, stats)), grads = differentiate(
            state.params, stats, frozen, part, key
        )
        metrics = {"loss": loss, **metrics}
        return grads, stats, {k: jnp.float32(v) for k, v in metrics.items()}

    if microbatches == 1:
        return one(state.stats, batch, key)

    def accumulate(carry, inputs):
        total, stats = carry
        part, key = inputs
        grads, stats, metrics = one(stats, part, key)
        return (jax.tree.map(jnp.add, total, grads), stats), metrics

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    keys = jax.random.split(key, microbatches)
    (total, stats), metrics = jax.lax.scan(
        accumulate, (zeros, state.stats), (_split(batch, microbatches), keys)
    )
    mean = jax.tree.map(lambda x: x / microbatches, total)
    return mean, stats, {name: value.mean() for name, value in metrics.items()}


def _split(batch: PyTree, parts: int) -> PyTree:
    # Part k takes every parts-th row from k on, so each device keeps its own rows:
    # consecutive rows would move half the batch between devices.
    return jax.tree.map(
        lambda x: x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1),
        batch,
    )
