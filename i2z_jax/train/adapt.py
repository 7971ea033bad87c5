# SPDX-License-Identifier: Apache-2.0
"""Stage `adapt`: the regressor learns an unlabelled video, under guard (DESIGN 6).

Only what `train regress` trained moves; decoder and streams are read. Each step draws
indices of frame pairs and of lab views, gathers their cached stream maps, and
descends on CFTC + FL + MOTC + prior on the pairs and the supervised loss on the views.
The loop, its checkpoints and its resuming are those of every stage; the guard is its
`evaluate`.
"""

import shutil
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from i2z_jax import console
from i2z_jax.checkpoint import RunCheckpoints
from i2z_jax.data.batches import Stream, endless
from i2z_jax.errors import InputError
from i2z_jax.objectives.adapt import AdaptWeights
from i2z_jax.sharding import (
    from_every_process,
    is_first_process,
    local_rows,
    to_global,
    whole,
    with_whole_kernels,
)
from i2z_jax.system import System
from i2z_jax.train.adapt_data import Material
from i2z_jax.train.adapt_stage import adapt_stage
from i2z_jax.train.guard import GUARD, Figures, Guard
from i2z_jax.train.lab_views import Rows
from i2z_jax.train.loop import run_loop
from i2z_jax.train.optim import build_optimizer
from i2z_jax.train.run import RunConfig, check_batch, create_state, place
from i2z_jax.train.step import train_step
from i2z_jax.train.workdir import has_checkpoint, remember_frozen

PyTree = Any


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
    material: Material,
    *,
    workdir: Path,
    config: RunConfig,
    weights: AdaptWeights,
    mesh: Mesh,
    supervised: bool = False,
) -> Outcome | None:
    """Adapt in a held workdir (`workdir.hold`); guard and best network live there too.

    Args:
        supervised: learn the video's ground truth (see `adapt_stage`).

    Returns:
        The better of before and after, or None if the run was asked to stop before its
        end.

    Raises:
        InputError: as `run_loop`; batch, microbatches and devices do not fit; no
            ground truth to be supervised by.
    """
    check_batch(config, mesh)
    if supervised and material.video.truth is None:
        raise InputError(
            "a video without ground truth has no oracle",
            where=workdir,
            expected="a video of `i2z synth video`, of this very mesh",
        )
    stage, judge = adapt_stage(
        system, material, weights=weights, mesh=mesh, supervised=supervised
    )
    optimizer = build_optimizer(config.optimizer, config.loop.steps)
    # Not the caches: they follow from the networks, to a bit that depends on the
    # devices, and a run may go on elsewhere.
    remember_frozen(workdir, {name: stage.frozen[name] for name in ("net", "dam")})
    frozen = place(stage.frozen, mesh)
    state = create_state(stage, optimizer, mesh)
    best = workdir / "best"
    if not has_checkpoint(workdir):
        _forget(workdir, best)
    guard = Guard(workdir)

    def look_first(state) -> None:
        if 0 not in guard.history:
            figures = judge(state.params, frozen)
            guard.record(0, figures, write=is_first_process())
        if not np.isfinite(guard.before["score"]):
            raise InputError("the network given predicts nothing finite on this video")

    def evaluate(state, done: int) -> Figures:
        figures = judge(state.params, frozen)
        guard.record(done, figures, write=is_first_process())
        if guard.best == done:
            _save(best, done, state.params)
        if guard.collapse(done) is not None:
            raise _Collapse
        return figures

    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        state.params,
    )
    if guard.first_collapse is None:
        try:
            state = run_loop(
                state,
                frozen,
                step=partial(
                    train_step,
                    objective=with_whole_kernels(stage.objective, mesh),
                    optimizer=optimizer,
                    seed=config.seed,
                    microbatches=config.microbatches,
                ),
                batches=endless(
                    streams(material, config.batch_size),
                    seed=config.seed,
                    rows=partial(local_rows, mesh),
                ),
                put=partial(to_global, mesh=mesh),
                workdir=workdir,
                config=config.loop,
                # Each pair is two images, each view one.
                batch_size=config.batch_size * (2 + (material.replay is not None)),
                before=look_first,
                evaluate=evaluate,
            )
        except _Collapse:
            console.err.print(f"the guard stops the run at {guard.first_collapse}")
        else:
            if int(state.step) < config.loop.steps:
                console.err.print(
                    f"stopped at step {int(state.step)}; the same command goes on"
                )
                return None
    step = guard.best
    if step:
        restored = RunCheckpoints(best).restore({"params": abstract})
        assert restored is not None
        assert restored.step == step
        trained = whole(restored.state["params"], mesh)
        system = system._replace(net=stage.assemble(trained, None))  # pyrefly: ignore
    return Outcome(
        system, step, guard.before, guard.history[step], guard.first_collapse
    )


class _Collapse(Exception):
    """Ends the loop from within an evaluation."""


def _forget(workdir: Path, best: Path) -> None:
    """Of a start that trained nothing, and may have had other options or networks."""
    if is_first_process():
        (workdir / GUARD).unlink(missing_ok=True)
        shutil.rmtree(best, ignore_errors=True)
    from_every_process("forgotten")  # before any of them looks


def _save(folder: Path, step: int, params: PyTree) -> None:
    """Before the step is a checkpoint of the run: what is judged best exists."""
    checkpoints = RunCheckpoints(folder, keep=1)
    checkpoints.drop_after(step)  # of a process that was killed further on
    checkpoints.save(step, {"params": params}, {})
    checkpoints.close()


def streams(material: Material, batch_size: int) -> dict[str, Stream]:
    """What a batch is drawn from, as many views as pairs."""
    found = {"pairs": Stream(Rows(material.video.learn), batch_size)}
    if material.replay is not None:
        views = np.arange(len(material.replay.pose), dtype=np.int32)
        found["replay"] = Stream(Rows(views), batch_size)
    return found
