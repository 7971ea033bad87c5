# SPDX-License-Identifier: Apache-2.0
"""Held-out examples of a run: figures of many of them, a picture of a few.

Read-only: neither changes what the run learns, or the order of its data.
"""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh

from i2z_jax.data.batches import Picked, Stream, one_pass
from i2z_jax.sharding import (
    is_first_process,
    local_rows,
    put,
    replicated,
    to_global,
    with_whole_kernels,
)
from i2z_jax.spacing import evenly_spaced
from i2z_jax.train.stages import Stage
from i2z_jax.train.state import TrainState
from i2z_jax.types import Int, NDArray, PyTree, UInt8

# Examples in a picture, spread over the data.
SHOWN = 4


class HeldOut:
    """What `run_loop` calls between steps, `figures` and `pictures`.

    Args:
        stage: its `measure` and `pictures`.
        frozen: its frozen weights, on the mesh.
        test: the examples.
        mesh: the run's.
        most: how many of them `figures` measures, spread over them; 0: all.
        workers: processes that load them, per host.
    """

    def __init__(
        self,
        stage: Stage,
        frozen: PyTree,
        test: Stream,
        mesh: Mesh,
        *,
        most: int = 0,
        workers: int = 0,
    ):
        self._stage, self._frozen, self._mesh = stage, frozen, mesh
        count, size = len(test.source), test.batch_size
        parts = equal_parts(np.array(evenly_spaced(count, most or count)), size)
        filled = np.concatenate([np.resize(part, size) for part in parts])
        self._measured = replace(test, source=Picked(test.source, filled))
        self._weights = [len(part) / sum(map(len, parts)) for part in parts]
        self._workers = workers
        self._measure = jax.jit(stage.measure)
        self._shown = _shown(test)
        if stage.pictures is not None:
            self._predict = jax.jit(
                with_whole_kernels(stage.pictures.predict, mesh),
                out_shardings=replicated(mesh),
            )

    def figures(self, state: TrainState, done: int) -> dict[str, float]:
        """Mean of the stage's loss and metrics.

        A monitor: of `most` examples, and of means over batches. `i2z evaluate` is
        exact.
        """
        del done
        totals: dict[str, float] = {}
        rows = partial(local_rows, self._mesh)
        with one_pass(self._measured, rows=rows, workers=self._workers) as batches:
            for batch, weight in zip(batches, self._weights, strict=True):
                batch.pop("valid")  # all are
                loss, (metrics, _) = self._measure(
                    state.params,
                    state.stats,
                    self._frozen,
                    to_global(batch, self._mesh),
                    jax.random.key(0),
                )
                for name, value in {"loss": loss, **metrics}.items():
                    totals[name] = totals.get(name, 0.0) + weight * float(value)
        return totals

    def names(self, state: TrainState) -> set[str]:
        """Names of the figures, without computing any."""
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


def equal_parts(
    rows: Int[NDArray, "k *each"], batch_size: int
) -> list[Int[NDArray, "_part *each"]]:
    """Rows in parts that fill a batch each, or a whole number of times.

    Every batch has one shape, as its devices and the compiled program want it, and its
    mean is that of its part: 17 rows in batches of 16 are 16 of them, and one 16 times.
    """
    divisors = [size for size in range(1, batch_size + 1) if batch_size % size == 0]
    parts = []
    while len(rows):
        size = max(each for each in divisors if each <= len(rows))
        parts.append(rows[:size])
        rows = rows[size:]
    return parts


def _shown(test: Stream) -> dict[str, np.ndarray]:
    """Some examples from the first to the last, each augmented the same way always."""
    examples = [test.source[i] for i in evenly_spaced(len(test.source), SHOWN)]
    if test.augment is not None:
        rng = np.random.default_rng
        examples = [test.augment(each, rng(i)) for i, each in enumerate(examples)]
    return {name: np.stack([e[name] for e in examples]) for name in examples[0]}
