# SPDX-License-Identifier: Apache-2.0
"""A stage, data and a workdir become a run: placed on the mesh, compiled, looped."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from i2z_jax import console
from i2z_jax.data.batches import Stream, endless, one_pass
from i2z_jax.errors import InputError
from i2z_jax.sharding import (
    create_mesh,
    local_rows,
    parameter_shardings,
    put,
    replicated,
    to_global,
    whole,
    with_whole_kernels,
)
from i2z_jax.train.loop import LoopConfig, run_loop
from i2z_jax.train.optim import OptimizerConfig, build_optimizer
from i2z_jax.train.stages import Stage
from i2z_jax.train.state import TrainState
from i2z_jax.train.step import train_step
from i2z_jax.train.workdir import remember_frozen

PyTree = Any
Module = TypeVar("Module", bound=nnx.Module)


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
    # Of initial weights, order of the data, augmentation and sampling.
    seed: int = 0
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
    state = jax.jit(lambda: nnx.state(build()), out_shardings=shardings)()
    return nnx.merge(graph, state)


def place(tree: PyTree, mesh: Mesh) -> PyTree:
    """Arrays that every process has, on the mesh: the same copy on every device."""
    return put(tree, replicated(mesh))


def create_state(
    stage: Stage, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """The first state of a stage, parameters and moments divided over the mesh.

    The stage's own arrays are not donated: its networks stay usable.
    """
    create = partial(TrainState.create, optimizer=optimizer)
    trained = (stage.params, stage.stats)
    shardings = parameter_shardings(jax.eval_shape(create, *trained), mesh)
    # Of a model that the run continues: it was read onto one device.
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
            the stage's own metrics every `loop.evaluate_every` steps.

    Returns:
        The trained module, whole on this process's first device; None if the run was
        asked to stop before its end.

    Raises:
        InputError: batch, microbatches and devices do not fit; the frozen weights are
            not those the run was started with; as `run_loop`.
    """
    check_batch(config, mesh)
    optimizer = build_optimizer(config.optimizer, config.loop.steps)
    remember_frozen(workdir, stage.frozen)
    frozen = place(stage.frozen, mesh)
    rows = partial(local_rows, mesh)
    step = partial(
        train_step,
        objective=with_whole_kernels(stage.objective, mesh),
        optimizer=optimizer,
        seed=config.seed,
        microbatches=config.microbatches,
    )
    evaluate = None
    if test is not None:
        evaluate = partial(
            held_out_metrics, stage, frozen, test, rows=rows, mesh=mesh,
            measure=jax.jit(stage.measure),
        )  # fmt: skip
    with endless(train, seed=config.seed, rows=rows, workers=config.workers) as batches:
        state = run_loop(
            create_state(stage, optimizer, mesh),
            frozen,
            step=step,
            batches=batches,
            put=partial(to_global, mesh=mesh),
            workdir=workdir,
            config=config.loop,
            batch_size=config.batch_size,
            evaluate=evaluate,
        )
    if int(state.step) < config.loop.steps:
        console.err.print(
            f"stopped at step {int(state.step)}; the same command goes on"
        )
        return None
    graph, arrays = nnx.split(stage.assemble(state.params, state.stats))
    return nnx.merge(graph, whole(arrays, mesh))


def held_out_metrics(
    stage: Stage,
    frozen: PyTree,
    test: Stream,
    state: TrainState,
    done: int,
    *,
    rows: Callable[[int], np.ndarray],
    mesh: Mesh,
    measure: Callable[..., Any],
) -> dict[str, float]:
    """Mean of the stage's loss and metrics over held-out examples, a small pass.

    A monitor: the last batch is filled up with the last example. `i2z evaluate` is
    exact.
    """
    del done
    key = jax.random.key(0)
    totals: dict[str, float] = {}
    batches = one_pass(test, rows=rows)
    for batch in batches:
        batch.pop("valid")
        arrays = to_global(batch, mesh)
        loss, (metrics, _) = measure(state.params, state.stats, frozen, arrays, key)
        for name, value in {"loss": loss, **metrics}.items():
            totals[name] = totals.get(name, 0.0) + float(value) / len(batches)
    return totals


def run_mesh(config: RunConfig) -> Mesh:
    """The mesh of all devices, as the configuration divides it."""
    return create_mesh(fsdp=config.fsdp)


def check_batch(config: RunConfig, mesh: Mesh) -> None:
    unit = mesh.size * config.microbatches
    if config.batch_size % unit:
        raise InputError(
            "the batch does not divide",
            where="batch_size",
            expected=f"a multiple of {mesh.size} devices x "
            f"{config.microbatches} microbatches",
            got=config.batch_size,
        )
