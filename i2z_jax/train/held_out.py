# SPDX-License-Identifier: Apache-2.0
"""Held-out examples of a run: figures of all of them, a picture of a few.

Read-only: neither changes what the run learns, or the order of its data.
"""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from i2z_jax.data.batches import Stream, one_pass
from i2z_jax.sharding import (
    is_first_process,
    local_rows,
    put,
    replicated,
    to_global,
    with_whole_kernels,
)
from i2z_jax.train.stages import Stage
from i2z_jax.train.state import TrainState
from i2z_jax.types import NDArray, UInt8

PyTree = Any

# Examples in a picture, spread over the data.
SHOWN = 4


class HeldOut:
    """What `run_loop` calls between steps, `figures` and `pictures`.

    Args:
        stage: its `measure` and `pictures`.
        frozen: its frozen weights, on the mesh.
        test: the examples.
        mesh: the run's.
    """

    def __init__(self, stage: Stage, frozen: PyTree, test: Stream, mesh: Mesh):
        self._stage, self._frozen, self._mesh = stage, frozen, mesh
        self._test, self._rows = test, partial(local_rows, mesh)
        self._measure = jax.jit(stage.measure)
        self._shown = _spread(test)
        if stage.pictures is not None:
            self._predict = jax.jit(
                with_whole_kernels(stage.pictures.predict, mesh),
                out_shardings=replicated(mesh),
            )

    def figures(self, state: TrainState, done: int) -> dict[str, float]:
        """Mean of the stage's loss and metrics, a small pass.

        A monitor: the last batch is filled up with the last example. `i2z evaluate` is
        exact.
        """
        del done
        totals: dict[str, float] = {}
        batches = one_pass(self._test, rows=self._rows)
        for batch in batches:
            batch.pop("valid")
            loss, (metrics, _) = self._measure(
                state.params,
                state.stats,
                self._frozen,
                to_global(batch, self._mesh),
                jax.random.key(0),
            )
            for name, value in {"loss": loss, **metrics}.items():
                totals[name] = totals.get(name, 0.0) + float(value) / len(batches)
        return totals

    def names(self, state: TrainState) -> set[str]:
        """Of the figures, without computing any."""
        arguments = (state.params, state.stats, self._frozen, self._shown)
        _, (metrics, _) = jax.eval_shape(self._measure, *arguments, jax.random.key(0))
        return {"loss", *metrics}

    def pictures(self, state: TrainState) -> dict[str, UInt8[NDArray, "h w 3"]]:
        """Prediction against truth, of the same few examples each time.

        Every process computes it, for its part of divided kernels; the first draws.
        """
        if self._stage.pictures is None:
            return {}
        batch = put(self._shown, replicated(self._mesh))
        predicted = self._predict(state.params, state.stats, self._frozen, batch)
        if not is_first_process():
            return {}
        host: dict[str, np.ndarray] = jax.tree.map(
            lambda x: np.asarray(x.addressable_data(0)), predicted
        )
        return {"held_out": self._stage.pictures.draw(self._shown, host)}


def _spread(test: Stream) -> dict[str, np.ndarray]:
    """Some examples from the first to the last, each augmented the same way always."""
    count = len(test.source)
    examples = [
        test.source[int(i)] for i in np.linspace(0, count - 1, min(SHOWN, count))
    ]
    if test.augment is not None:
        rng = np.random.default_rng
        examples = [test.augment(each, rng(i)) for i, each in enumerate(examples)]
    return {name: np.stack([e[name] for e in examples]) for name in examples[0]}
