# SPDX-License-Identifier: Apache-2.0
"""A stage, data and a workdir become a run: placed on the mesh, compiled, looped."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from i2z_jax import console
from i2z_jax.checkpoint import RunCheckpoints
from i2z_jax.data.batches import Stream, endless
from i2z_jax.errors import InputError, require_at_least
from i2z_jax.sharding import (
    create_mesh,
    local_rows,
    parameter_shardings,
    put,
    replicate,
    to_global,
    whole,
)
from i2z_jax.train.held_out import HeldOut
from i2z_jax.train.loop import (
    Hooks,
    LoopConfig,
    abstract,
    run_loop,
    score_of,
)
from i2z_jax.train.optim import OptimizerConfig, build_optimizer
from i2z_jax.train.stages import Stage
from i2z_jax.train.state import TrainState
from i2z_jax.train.workdir import CHECKPOINTS, remember_frozen
from i2z_jax.types import PyTree

Module = TypeVar("Module", bound=nnx.Module)


# A CPU's compiler, for a program that runs once: optimising it would not pay.
ONCE = {"xla_backend_optimization_level": "0"}


@dataclass(frozen=True)
class RunConfig:
    """What every training command takes."""

    # Global number of examples in a batch, over all devices of all hosts.
    batch_size: int = 16
    # Parts a batch is worked off in, one after the other; saves activation memory.
    microbatches: int = 1
    # Type of the forward and backward pass; losses and parameters are float32.
    dtype: Literal["float32", "bfloat16"] = "float32"
    # Devices that share one copy of the large kernels (a divisor of all devices).
    fsdp: int = 1
    # Processes that load data, per host; 0 loads in the training process.
    workers: int = 0
    # Seed of initial weights, order of the data, augmentation and sampling.
    seed: int = 0
    # Which network is the result: of the last step, or of the best held-out figure
    # (`--loop.best`). (`i2z adapt` has its guard.)
    result: Literal["last", "best"] = "last"
    # Length and rhythm, in steps.
    loop: LoopConfig = field(default_factory=LoopConfig)
    # AdamW with a warmed-up schedule.
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    @property
    def compute_dtype(self) -> Any:
        """`dtype` as JAX has it."""
        return jnp.dtype(self.dtype)


def fresh_module(build: Callable[[], Module], mesh: Mesh) -> Module:
    """A module initialised where its arrays will live: no device ever holds all.

    Args:
        build: makes the module, random numbers included.
        mesh: large kernels are divided over its `fsdp` axis, the rest replicated.
    """
    graph, abstract = nnx.split(nnx.eval_shape(build))
    shardings = parameter_shardings(abstract, mesh)
    draw = jax.jit(
        lambda: nnx.state(build()),
        out_shardings=shardings,
        compiler_options=ONCE if mesh.devices.flat[0].platform == "cpu" else None,
    )
    return nnx.merge(graph, draw())


def create_state(
    stage: Stage, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """The first state of a stage, parameters and moments divided over the mesh.

    The stage's own arrays are not donated: its networks stay usable.
    """
    create = partial(TrainState.create, optimizer=optimizer)
    trained = (stage.params, stage.stats)
    shardings = parameter_shardings(jax.eval_shape(create, *trained), mesh)
    # A model that the run continues was read onto one device.
    trained = put(trained, parameter_shardings(trained, mesh))
    return jax.jit(create, out_shardings=shardings)(*trained)


def run_stage(
    stage: Stage,
    train: Stream,
    test: Stream | None,
    *,
    workdir: Path,
    config: RunConfig,
    mesh: Mesh,
) -> Any:
    """Train a stage in a held workdir (`workdir.hold`).

    Args:
        stage: what to train; its arrays stay untouched.
        train, test: examples to learn from, and held-out ones that are measured by
            the stage's own metrics every `loop.evaluate_every` steps, at most
            `loop.evaluate_on` of them.

    Returns:
        The trained module, `config.result`, whole on this process's first device;
        None if the run was asked to stop before its end.

    Raises:
        InputError: the frozen weights are not those the run was started with; as
            `run_loop`.
    """
    optimizer = build_optimizer(config.optimizer, config.loop.steps)
    remember_frozen(workdir, stage.lasting)
    frozen = replicate(stage.frozen, mesh)
    state = create_state(stage, optimizer, mesh)
    held_out, hooks = None, Hooks()
    if test is not None:
        most, workers = config.loop.evaluate_on, config.workers
        held_out = HeldOut(stage, frozen, test, mesh, most=most, workers=workers)
        hooks = Hooks(evaluate=held_out.figures, picture=held_out.pictures)
    loop = replace(config.loop, best=best_figure(stage, config, held_out, state))
    state = run_steps(
        stage,
        state,
        frozen,
        train,
        optimizer=optimizer,
        workdir=workdir,
        config=replace(config, loop=loop),
        mesh=mesh,
        hooks=hooks,
    )
    if state is None:
        return None
    state = last_or_best(state, workdir, loop, config.result)
    graph, arrays = nnx.split(stage.assemble(state.params, state.stats))
    return nnx.merge(graph, whole(arrays, mesh))


def run_steps(
    stage: Stage,
    state: TrainState,
    frozen: PyTree,
    data: Stream | Mapping[str, Stream],
    *,
    optimizer: optax.GradientTransformation,
    workdir: Path,
    config: RunConfig,
    mesh: Mesh,
    hooks: Hooks,
    images: int = 1,
) -> TrainState | None:
    """The stage's step in the loop of all stages.

    Args:
        state, frozen: of the stage, on the mesh.
        data: what a batch is drawn from.
        hooks: looks at the state, between steps.
        images: that an example has, for images/s.

    Returns:
        The last state; None if the run was asked to stop before its end.
    """
    rows = partial(local_rows, mesh)
    with endless(data, seed=config.seed, rows=rows, workers=config.workers) as batches:
        state = run_loop(
            state,
            frozen,
            step=stage.step(
                optimizer, mesh, seed=config.seed, microbatches=config.microbatches
            ),
            batches=batches,
            put=partial(to_global, mesh=mesh),
            workdir=workdir,
            config=config.loop,
            batch_size=config.batch_size * images,
            hooks=hooks,
        )
    return state if int(state.step) == config.loop.steps else None


def best_figure(
    stage: Stage, config: RunConfig, held_out: HeldOut | None, state: TrainState
) -> str:
    """The figure that says which checkpoint is the best; "" if none does.

    Raises:
        InputError: there is no such figure, or none where one is needed.
    """
    name = config.loop.best
    if name is None:
        name = "" if held_out is None else f"eval/{stage.error}"
    elif name and held_out is None:
        raise InputError(
            f"no held-out data that tells {name}",
            where="--loop.best",
            fix="build the data with a test split",
        )
    elif name and held_out is not None:
        known = {f"eval/{figure}": 0.0 for figure in held_out.names(state)}
        score_of(known, replace(config.loop, best=name))
    if config.result == "best" and not name:
        raise InputError(
            "nothing says which checkpoint is the best",
            where="--result",
            fix="build the data with a test split, and do not switch --loop.best off",
        )
    return name


def last_or_best(
    last: TrainState, workdir: Path, loop: LoopConfig, result: str
) -> TrainState:
    """The state that a finished run results in, and a line that compares both."""
    with closing(RunCheckpoints(workdir / CHECKPOINTS)) as checkpoints:
        scores, best = checkpoints.scores, checkpoints.best
        if best is None:
            return last
        sign = 1 if loop.best_is == "least" else -1
        found = ", ".join(
            f"{sign * scores[step]:.4g} at step {step} ({name})"
            for name, step in (("best", best), ("last", loop.steps))
            if step in scores
        )
        console.err.print(f"{loop.best} {found}: the result is the {result}")
        if result == "last" or best == loop.steps:
            return last
        restored = checkpoints.restore_best(abstract(last))
        assert restored is not None
        return restored.state


def run_mesh(config: RunConfig) -> Mesh:
    """The mesh of all devices, as the configuration divides it.

    Raises:
        InputError: it cannot be divided so, the batch does not divide over it, or a
            number is too small: before there is work to lose.
    """
    require_at_least(config, LEAST)
    mesh = create_mesh(fsdp=config.fsdp)
    if config.batch_size % (mesh.size * config.microbatches):
        raise InputError(
            "the batch does not divide",
            where="--batch-size",
            expected=f"a multiple of devices ({mesh.size}) x "
            f"microbatches ({config.microbatches})",
            got=config.batch_size,
        )
    return mesh


# Options of a run, and the least that each may be.
LEAST = {
    "batch_size": 1,
    "microbatches": 1,
    "workers": 0,
    "seed": 0,
    "loop.steps": 1,
    "loop.log_every": 1,
    "loop.save_every": 1,
    "loop.evaluate_every": 0,
    "loop.evaluate_on": 0,
    "loop.keep": 1,
    "loop.bad_steps": 1,
    "loop.profile_steps": 0,
    "optimizer.learning_rate": 0,
    "optimizer.warmup_steps": 0,
    "optimizer.decay_steps": 1,
    "optimizer.weight_decay": 0,
    "optimizer.clip_norm": 0,
}
