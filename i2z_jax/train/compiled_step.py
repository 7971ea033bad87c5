# SPDX-License-Identifier: Apache-2.0
"""A training step compiled ahead of time, together with the state that it moves."""

from collections.abc import Callable

import jax

from i2z_jax.train.state import TrainState
from i2z_jax.types import PyTree


class CompiledStep:
    """Call it with a batch: the state moves on, and metrics come back.

    Trees of nnx states are taken apart and put together by Python, one array after the
    other, which takes longer than a GPU takes for an adaptation step. So state and
    frozen weights are taken apart once, and the state is put together when asked for.

    Args:
        step: `partial(train_step, ...)`, not jitted.
        state: where to start; it is donated.
        frozen: passed to every step.
        batch: one like those to come.
    """

    def __init__(
        self,
        step: Callable[[TrainState, PyTree, PyTree], tuple[TrainState, PyTree]],
        state: TrainState,
        frozen: PyTree,
        batch: PyTree,
    ):
        self._state, self._tree = jax.tree.flatten(state)
        self._frozen, frozen_tree = jax.tree.flatten(frozen)

        def flat_step(state, frozen, batch):
            after, metrics = step(
                jax.tree.unflatten(self._tree, state),
                jax.tree.unflatten(frozen_tree, frozen),
                batch,
            )
            return jax.tree.leaves(after), metrics

        shardings = [leaf.sharding for leaf in self._state]
        jitted = jax.jit(flat_step, donate_argnums=0, out_shardings=(shardings, None))
        self.program = jitted.lower(self._state, self._frozen, batch).compile()

    @property
    def state(self) -> TrainState:
        """What the last step left; the next one donates it."""
        return jax.tree.unflatten(self._tree, self._state)

    def __call__(self, batch: PyTree) -> PyTree:
        self._state, metrics = self.program(self._state, self._frozen, batch)
        return metrics
