# SPDX-License-Identifier: Apache-2.0
"""What a training run carries from step to step, and nothing else."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import optax

from i2z_jax.train.packing import Packed, pack, unpack
from i2z_jax.types import Array, Bool, PyTree


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """The tree that is donated to each step and saved in every checkpoint.

    Frozen weights are not in it: they go to the step beside it, are neither
    differentiated nor rewritten, and are stored once per run.

    Every field may hold arrays, shapes or shardings: one tree describes all three.

    Attributes:
        step: steps taken, skipped ones included.
        params: the trained parameters, float32.
        stats: saved in checkpoints but not differentiated: batch statistics
            (`landmarks`), constants fitted before the first step (`regress`), the
            video's running colour equations (`adapt`); empty for `dam`.
        opt_state: the optimiser's moments, of packed parameters (`packing.py`).
        skipped: steps whose loss or gradient was not finite, since the start.
        skipped_in_a_row: the same, since the last good step.
    """

    step: PyTree
    params: PyTree
    stats: PyTree
    opt_state: PyTree
    skipped: PyTree
    skipped_in_a_row: PyTree

    @classmethod
    def create(
        cls, params: PyTree, stats: PyTree, optimizer: optax.GradientTransformation
    ) -> "TrainState":
        """The state before the first step."""
        # Three arrays, not one thrice: a donated buffer can be given away only once.
        step, skipped, in_a_row = (jnp.zeros((), jnp.int32) for _ in range(3))
        moments = optimizer.init(pack(params))
        return cls(step, params, stats, moments, skipped, in_a_row)

    def advanced(
        self, params: Packed, stats: PyTree, opt_state: PyTree, finite: Array
    ) -> "TrainState":
        """One step later, which was finite or is one skipped.

        Args:
            params: packed; like `opt_state` the old ones if the step is skipped.
            stats: of the step, which are left if it is skipped.
        """
        bad = 1 - finite.astype(jnp.int32)
        return replace(
            self,
            step=self.step + 1,
            params=unpack(params, self.params),
            stats=where(finite, stats, self.stats),
            opt_state=opt_state,
            skipped=self.skipped + bad,
            skipped_in_a_row=(self.skipped_in_a_row + 1) * bad,
        )


def where(condition: Bool[Array, ""], these: PyTree, others: PyTree) -> PyTree:
    """One tree or the other."""
    return jax.tree.map(partial(jnp.where, condition), these, others)
