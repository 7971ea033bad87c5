# SPDX-License-Identifier: Apache-2.0
"""The loop all stages share. The order inside it is what makes resuming exact.

Where a run starts, in this order: the newest readable checkpoint of its workdir; else
the state it was given (fresh, or of a model that it continues).

Each turn: save, draw a batch, step, log. What is saved is (state, data position)
*before* the batch is drawn, so a restored run draws the very batch that the killed one
drew next. The host draws the next batch while the devices work on this one; nothing is
fetched from them but at a logged step.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
from tensorboardX import SummaryWriter

from i2z_jax import console
from i2z_jax.checkpoint import RunCheckpoints
from i2z_jax.errors import InputError
from i2z_jax.train.preemption import Preemption
from i2z_jax.train.state import TrainState
from i2z_jax.train.workdir import MetricsLog

PyTree = Any


@dataclass(frozen=True)
class LoopConfig:
    """Length and rhythm of a run, in steps."""

    steps: int = 10_000
    # Write metrics every so many steps.
    log_every: int = 20
    # Save every so many steps; also at the end, and on SIGTERM.
    save_every: int = 500
    # Evaluate every so many steps; 0: only at the end.
    evaluate_every: int = 0
    # Checkpoints that stay on disk.
    keep: int = 2
    # Stop when this many steps in a row had a loss or gradient that is not finite.
    bad_steps: int = 10
    # Trace this many steps with the profiler, from the tenth on; 0: none.
    profile_steps: int = 0


@runtime_checkable
class Batches(Protocol):
    """An endless iterator that can say where it is and go there."""

    def __next__(self) -> PyTree: ...
    def get_state(self) -> dict[str, Any]: ...
    def set_state(self, state: dict[str, Any]) -> None: ...


@dataclass
class Clock:
    """Seconds of the loop by what they went into; the rest is the devices' work."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[what] = self.seconds.get(what, 0.0) + spent

    def split(self) -> dict[str, float]:
        """Seconds since the last call, and start over."""
        seconds, self.seconds = self.seconds, {}
        return {what: round(spent, 4) for what, spent in seconds.items()}


def run_loop(
    state: TrainState,
    frozen: PyTree,
    *,
    step: Callable[[TrainState, PyTree, PyTree], tuple[TrainState, dict[str, Any]]],
    batches: Batches,
    put: Callable[[PyTree], PyTree],
    workdir: Path,
    config: LoopConfig,
    batch_size: int,
    evaluate: Callable[[TrainState, int], dict[str, float]] | None = None,
) -> TrainState:
    """Train until `config.steps`, or until the run is asked to stop.

    Args:
        state: where to start if the workdir has no checkpoint; it is donated.
        frozen: passed to every step.
        step: `partial(train_step, ...)`, not jitted.
        batches: host batches.
        put: host batch to device arrays, sharded as the step wants them.
        workdir: held by this process (`workdir.hold`).
        batch_size: global number of images in a batch, for images/s.
        evaluate: state and step to figures, called between steps.

    Returns:
        The last state. If the run was preempted its `step` is below `config.steps`.

    Raises:
        InputError: nothing finite for `config.bad_steps` steps, or a checkpoint that
            cannot be written.
    """
    # Closed whatever happens: what is being saved in the background gets done.
    folder = workdir / "checkpoints"
    with (
        Preemption().listening() as preemption,
        closing(RunCheckpoints(folder, keep=config.keep)) as checkpoints,
        console.bar() as bar,
    ):
        restored = checkpoints.restore(_abstract(state))
        start, saved = 0, -1
        if restored is not None:
            start = saved = restored.step
            state = restored.state
            batches.set_state(restored.extras["data"])
            console.err.print(f"going on from step {start} of {workdir}")
        log = _Log(workdir, start) if jax.process_index() == 0 else None
        clock = Clock()
        compiled = None
        tracing = range(start + 10, start + 10 + config.profile_steps)
        task = bar.add_task("train", total=config.steps, completed=start, remark="")
        for number in range(start, config.steps + 1):
            stop = number == config.steps or preemption.requested(number)
            if (stop or number % config.save_every == 0) and number > saved:
                with clock("save"):
                    checkpoints.save(number, state, {"data": batches.get_state()})
                saved = number
            if stop:
                break
            with clock("data"):
                batch = put(next(batches))
            if compiled is None:
                compiled = _compile(step, state, frozen, batch)
            if tracing and number == tracing.start:
                jax.profiler.start_trace(str(workdir / "profile"))
            with clock("step"):
                state, metrics = compiled(state, frozen, batch)
            if tracing and number == tracing[-1]:
                jax.block_until_ready(state)
                jax.profiler.stop_trace()
            done = number + 1
            if done % config.log_every == 0 or done == config.steps:
                with clock("step"):  # waits for the devices
                    values = {k: float(v) for k, v in metrics.items()}
                    bad = int(state.skipped_in_a_row)
                    values["skipped"] = int(state.skipped)
                _refuse_endless_nonsense(bad, done, config)
                if log is not None:
                    log.write(done, values, clock, batch_size)
                bar.update(task, remark=f"loss {values['loss']:.4g}")
            if evaluate is not None and _is_due(done, config):
                with clock("evaluate"):
                    figures = evaluate(state, done)
                if log is not None:
                    log.evaluation(done, figures)
            bar.update(task, completed=done)
    return state


def _is_due(done: int, config: LoopConfig) -> bool:
    every = config.evaluate_every
    return done == config.steps or (every > 0 and done % every == 0)


def _abstract(state: TrainState) -> PyTree:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def _compile(step, state: TrainState, frozen: PyTree, batch: PyTree):
    """Compile ahead: time and memory are known before the first step."""
    start = time.perf_counter()
    shardings = jax.tree.map(lambda x: x.sharding, state)
    jitted = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
    compiled = jitted.lower(state, frozen, batch).compile()
    took = time.perf_counter() - start
    console.err.print(f"compiled in {took:.1f} s; {memory_report(compiled)}")
    return compiled


def memory_report(compiled: Any) -> str:
    """Bytes per device that a compiled step needs, by what they hold."""
    stats = compiled.memory_analysis()
    mib = {
        "arguments (weights, moments, batch)": stats.argument_size_in_bytes,
        "temporaries (activations, gradients)": stats.temp_size_in_bytes,
        "outputs beside donated arguments": stats.output_size_in_bytes
        - stats.alias_size_in_bytes,
    }
    total = sum(mib.values())
    parts = ", ".join(f"{what} {size / 2**20:.0f} MiB" for what, size in mib.items())
    return f"per device {total / 2**20:.0f} MiB: {parts}"


def _refuse_endless_nonsense(bad: int, done: int, config: LoopConfig) -> None:
    if bad >= config.bad_steps:
        raise InputError(
            f"loss or gradient not finite in steps {done - bad + 1} to {done}",
            fix="look at the data of these steps, or lower the learning rate",
        )


class _Log:
    """metrics.jsonl and TensorBoard, by one process of the run."""

    def __init__(self, workdir: Path, start: int):
        self._lines = MetricsLog(workdir, start)
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)
        self._last = (time.perf_counter(), start)

    def write(
        self, done: int, values: dict[str, Any], clock: Clock, batch_size: int
    ) -> None:
        now = time.perf_counter()
        then, before = self._last
        self._last = (now, done)
        rate = (done - before) * batch_size / max(now - then, 1e-9)
        # Under one key, because it is the one part that no two runs share.
        speed = {"images_per_s": round(rate, 2), "seconds": clock.split()}
        self._lines.write(done, {**values, "speed": speed})
        for name, value in {**values, "images_per_s": rate}.items():
            self._board.add_scalar(name, value, done)

    def evaluation(self, done: int, figures: dict[str, float]) -> None:
        named = {f"eval/{name}": value for name, value in figures.items()}
        self._lines.write(done, named)
        for name, value in named.items():
            self._board.add_scalar(name, value, done)
