# SPDX-License-Identifier: Apache-2.0
"""Stage `adapt`: the regressor learns an unlabelled video, under guard (DESIGN 6).

Only what `train regress` trained moves; decoder and streams are read. Each step draws
indices of frame pairs and of lab views, gathers their cached stream maps, and
descends on CFTC + FL + MOTC + prior on the pairs and the supervised loss on the views.
The loop, its checkpoints and its resuming are those of every stage; the guard is its
`evaluate`.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from i2z_jax import console
from i2z_jax.checkpoint import RunCheckpoints
from i2z_jax.data.batches import Stream
from i2z_jax.errors import InputError
from i2z_jax.objectives.adapt import AdaptWeights
from i2z_jax.sharding import from_every_process, is_first_process, replicate, whole
from i2z_jax.system import System
from i2z_jax.train.adapt_data import AdaptationData
from i2z_jax.train.adapt_stage import adapt_stage
from i2z_jax.train.guard import GUARD, Figures, Guard
from i2z_jax.train.lab_views import RowNumbers
from i2z_jax.train.loop import Hooks, abstract
from i2z_jax.train.optim import build_optimizer
from i2z_jax.train.run import RunConfig, create_state, run_steps
from i2z_jax.train.state import TrainState
from i2z_jax.train.workdir import CHECKPOINTS, has_checkpoint, remember_frozen
from i2z_jax.types import PyTree


class Outcome(NamedTuple):
    """What a finished run says."""

    system: System
    # 0: nothing was better than the system that was given, and this is it.
    best_step: int
    before: Figures
    after: Figures
    # Why the run ended early, if it did.
    collapse: str | None

    def report(self) -> dict[str, Any]:
        """All but the networks, as JSON."""
        return {name: getattr(self, name) for name in self._fields if name != "system"}


def adapt(
    system: System,
    data: AdaptationData,
    *,
    workdir: Path,
    config: RunConfig,
    weights: AdaptWeights,
    mesh: Mesh,
    supervised: bool = False,
) -> Outcome | None:
    """Adapt in a held workdir (`workdir.hold`); the guard lives there too.

    Args:
        supervised: learn the video's ground truth (see `adapt_stage`).

    Returns:
        The better of before and after, or None if the run was asked to stop before its
        end.

    Raises:
        InputError: as `run_loop`; no ground truth to be supervised by.
    """
    if supervised and data.video.truth is None:
        raise InputError(
            "a video without ground truth has no oracle",
            where=workdir,
            expected="a video of `i2z synth video`, of this very mesh",
        )
    stage, judge = adapt_stage(
        system, data, weights=weights, mesh=mesh, supervised=supervised
    )
    optimizer = build_optimizer(config.optimizer, config.loop.steps)
    remember_frozen(workdir, stage.lasting)
    frozen = replicate(stage.frozen, mesh)
    state = create_state(stage, optimizer, mesh)
    like = abstract(state)  # before the loop takes the state over
    loop = replace(config.loop, best="eval/score", best_is="least")  # the guard's
    guarded = _Guarded(workdir, lambda params: judge(params, frozen))
    guard = guarded.guard
    if guard.first_collapse is None:
        try:
            last = run_steps(
                stage,
                state,
                frozen,
                streams(data, config.batch_size),
                optimizer=optimizer,
                workdir=workdir,
                # Rows of what is in memory need no workers.
                config=replace(config, workers=0, loop=loop),
                mesh=mesh,
                images=2 + (data.replay is not None),  # a pair, and a view
                hooks=Hooks(guarded.before, guarded.evaluate),
            )
        except _Collapse:
            console.err.print(f"the guard stops the run at {guard.first_collapse}")
        else:
            if last is None:
                return None
    step = guard.best
    if step:
        params = whole(_best(workdir, step, like), mesh)
        system = system._replace(net=stage.assemble(params, None))  # pyrefly: ignore
    return Outcome(
        system, step, guard.before, guard.history[step], guard.first_collapse
    )


class _Guarded:
    """The guard beside a run: it judges, and may end it."""

    def __init__(self, workdir: Path, judge: Callable[[PyTree], Figures]):
        self._judge = judge
        if not has_checkpoint(workdir):
            _forget(workdir / GUARD)
        self.guard = Guard(workdir)

    def before(self, state: TrainState) -> None:
        """`Hooks.before`: at the network that was given."""
        if 0 not in self.guard.history:
            self._record(0, state)
        if not np.isfinite(self.guard.before["score"]):
            raise InputError("the network given predicts nothing finite on this video")

    def evaluate(self, state: TrainState, done: int) -> Figures:
        """`Hooks.evaluate`; raises `_Collapse`."""
        figures = self._record(done, state)
        if self.guard.collapse(done) is not None:
            raise _Collapse
        return figures

    def _record(self, step: int, state: TrainState) -> Figures:
        figures = self._judge(state.params)
        self.guard.record(step, figures, write=is_first_process())
        return figures


class _Collapse(Exception):
    """Ends the loop from within an evaluation, which thus has no score there."""


def _forget(figures: Path) -> None:
    """Clear what a start left that trained nothing: it may have had other options."""
    if is_first_process():
        figures.unlink(missing_ok=True)
    from_every_process("forgotten")  # before any of them looks


def _best(workdir: Path, step: int, like: PyTree) -> PyTree:
    """Parameters of the step that the guard found best, from the loop's checkpoints:
    the loop keeps that of the lowest score, and of equals the first, as the guard does.

    Raises:
        InputError: its checkpoint cannot be read.
    """
    with closing(RunCheckpoints(workdir / CHECKPOINTS)) as checkpoints:
        restored = checkpoints.restore_best(like)
    if restored is None or restored.step != step:
        raise InputError(
            f"the best network, of step {step}, is not there or cannot be read",
            where=workdir / CHECKPOINTS,
            fix="give another --workdir to start anew",
        )
    return restored.state.params


def streams(data: AdaptationData, batch_size: int) -> dict[str, Stream]:
    """What a batch is drawn from, as many views as pairs."""
    found = {"pairs": Stream(RowNumbers(data.video.learn), batch_size)}
    if data.replay is not None:
        views = np.arange(len(data.replay.pose), dtype=np.int32)
        found["replay"] = Stream(RowNumbers(views), batch_size)
    return found
