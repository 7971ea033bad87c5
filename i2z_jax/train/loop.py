# SPDX-License-Identifier: Apache-2.0
"""The loop all stages share. The order inside it is what makes resuming exact.

Where a run starts, in this order: the newest readable checkpoint of its workdir; else
the state it was given (fresh, or of a model that it continues).

Each turn: save, evaluate, draw a batch, step, log. What is saved is (state, data
position) *before* the batch is drawn: a restored run draws the very batch that the
killed one drew next. It is saved before it is evaluated, too, which takes long: a run
that was killed meanwhile evaluates when it goes on. The host draws the next batch while
the devices work on this one; nothing is fetched from them but at a logged step.
"""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from i2z_jax import console
from i2z_jax.checkpoint import RunCheckpoints
from i2z_jax.errors import InputError
from i2z_jax.stopwatch import Stopwatch
from i2z_jax.train import memory
from i2z_jax.train.compiled_step import CompiledStep
from i2z_jax.train.log import RunLog
from i2z_jax.train.preemption import Preemption
from i2z_jax.train.state import TrainState
from i2z_jax.train.trace import Trace
from i2z_jax.train.workdir import CHECKPOINTS, mark_stopped
from i2z_jax.types import Figures, PyTree

# What to do about a step that needs more memory than a device has.
SMALLER_STEP = (
    "more --microbatches, a smaller --batch-size, or on several devices --fsdp, which "
    "divides the large kernels"
)


@dataclass(frozen=True)
class LoopConfig:
    """Length and rhythm of a run, in steps."""

    # Steps of the whole run; the learning rate's schedule is stretched over them.
    steps: int = 10_000
    # Write metrics every so many steps.
    log_every: int = 20
    # Save every so many steps; also before an evaluation, at the end, and on SIGTERM.
    save_every: int = 500
    # Evaluate every so many steps; 0: only at the end.
    evaluate_every: int = 0
    # Held-out examples that an evaluation measures, spread over them; 0: all of them.
    # (`i2z adapt` measures its held-out frames, all of them.)
    evaluate_on: int = 2048
    # The newest checkpoints that stay on disk; beside them stays the best.
    keep: int = 2
    # Held-out figure that says which is the best, a name of metrics.jsonl such as
    # eval/loss. None: the stage's own error. "": no best. (`i2z adapt` has its guard.)
    best: str | None = None
    # Whether less of that figure is better, or more.
    best_is: Literal["least", "most"] = "least"
    # Stop when this many steps in a row had a loss or gradient that is not finite.
    bad_steps: int = 10
    # Trace this many steps with the profiler, from the eleventh on; 0: none.
    profile_steps: int = 0


@runtime_checkable
class Batches(Protocol):
    """An endless iterator that can say where it is and go there."""

    def __next__(self) -> PyTree: ...
    def get_state(self) -> dict[str, Any]: ...
    def set_state(self, state: dict[str, Any]) -> None: ...


class Hooks(NamedTuple):
    """What looks at the state between steps."""

    # Before the first step, in a thread: most of its time it compiles, as the step
    # does meanwhile.
    before: Callable[[TrainState], None] | None = None
    # State and step to figures; again for a step that the run goes on from, if it was
    # killed before the figures were noted.
    evaluate: Callable[[TrainState, int], Figures] | None = None
    # State to pictures (uint8 `h w 3`) by name, after `evaluate`.
    picture: Callable[[TrainState], dict[str, np.ndarray]] | None = None


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
    hooks: Hooks,
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
        hooks: looks at the state, between steps.

    Returns:
        The last state. If the run was preempted its `step` is below `config.steps`.

    Raises:
        InputError: nothing finite for `config.bad_steps` steps, a checkpoint that
            cannot be written, no figure named `config.best`, or a device is out of
            memory.
        KeyboardInterrupt: Ctrl-C, after the step in flight has been saved.
    """
    # Closed whatever happens: what is being saved in the background gets done.
    with (
        memory.shortage_is_bad_input(SMALLER_STEP),
        Preemption().listening() as preemption,
        closing(RunCheckpoints(workdir / CHECKPOINTS, keep=config.keep)) as checkpoints,
        closing(Trace(workdir / "profile", config.profile_steps)) as trace,
        console.bar() as bar,
        ExitStack() as stack,
    ):
        mark_stopped(workdir, stopped=False)
        restored = checkpoints.restore(abstract(state))
        start = 0
        if restored is not None:
            start, state = restored.step, restored.state
            batches.set_state(restored.extras["data"])
            console.err.print(f"going on from step {start} of {workdir}")
        clock = Stopwatch()
        evaluated = start in checkpoints.judged
        log = RunLog(workdir, start, batch_size, clock, evaluated=evaluated)
        stack.enter_context(closing(log))
        run = _Run(
            state,
            frozen,
            start=start,
            step=step,
            batches=batches,
            hooks=hooks,
            config=config,
            checkpoints=checkpoints,
            log=log,
            clock=clock,
        )
        task = bar.add_task("train", total=config.steps, completed=start, remark="")
        for number in range(start, config.steps + 1):
            last = number == config.steps
            stop = last or preemption.requested(number)
            run.save_if_due(number, stop=stop)
            if last or not stop:  # one that was asked to stop evaluates when it goes on
                run.evaluate_if_due(number)
            if stop:
                break
            with clock.stage("data"):
                batch = put(next(batches))
            run.compile(batch)
            with clock.stage("step"), trace.step(number):
                metrics = run.step(batch)
            trace.wait(metrics)
            if (remark := run.log_if_due(number + 1, metrics)) is not None:
                bar.update(task, remark=remark)
            bar.update(task, completed=number + 1)
        with clock.stage("save"):
            checkpoints.wait()
        log.finished(run.saved)
        if number < config.steps:
            mark_stopped(workdir, stopped=True)
            console.err.print(f"stopped at step {number}; the same command goes on")
        return run.state


class _Run:
    """A state on its way: what a turn of the loop may do to it."""

    def __init__(
        self,
        state: TrainState,
        frozen: PyTree,
        *,
        start: int,
        step: Callable[..., Any],
        batches: Batches,
        hooks: Hooks,
        config: LoopConfig,
        checkpoints: RunCheckpoints,
        log: RunLog,
        clock: Stopwatch,
    ):
        self._first, self._frozen, self._step = state, frozen, step
        self._program: CompiledStep | None = None  # takes the state over
        self._batches, self._hooks, self._config = batches, hooks, config
        self._checkpoints, self._log, self._clock = checkpoints, log, clock
        # A start that trained nothing leaves nothing to go on from.
        self.saved = start

    @property
    def state(self) -> TrainState:
        """The state after the last step, once it is computed."""
        with self._clock.stage("step"):
            now = self._first if self._program is None else self._program.state
            return jax.block_until_ready(now)

    def compile(self, batch: PyTree) -> None:
        """Once, and ahead: time and memory are known before the first step."""
        if self._program is not None:
            return
        state, look = self._first, self._hooks.before
        with self._clock.stage("compile"), ThreadPoolExecutor(1) as beside:
            looking = None if look is None else beside.submit(look, state)
            start = time.perf_counter()
            self._program = CompiledStep(self._step, state, self._frozen, batch)
            seconds = time.perf_counter() - start
            needed = memory.needed(state, self._frozen, batch, self._program.program)
            if looking is not None:
                looking.result()
            self._log.compiled(seconds, needed)

    def step(self, batch: PyTree) -> dict[str, Any]:
        """The state a step further; its metrics."""
        assert self._program is not None
        return self._program(batch)

    def save_if_due(self, number: int, *, stop: bool) -> None:
        every = self._config.save_every
        due = stop or number % every == 0 or self._evaluation_is_due(number)
        if due and number > self.saved:
            now = self.state
            with self._clock.stage("save"):
                extras = {"data": self._batches.get_state()}
                self._checkpoints.save(number, now, extras)
            self.saved = number

    def evaluate_if_due(self, number: int) -> None:
        if not self._evaluation_is_due(number) or number in self._checkpoints.judged:
            return
        _, evaluate, picture = self._hooks
        assert evaluate is not None
        now = self.state
        with self._clock.stage("evaluate"):
            found = evaluate(now, number)
            pictures = picture(now) if picture is not None else {}
        figures = {f"eval/{name}": value for name, value in found.items()}
        score = score_of(figures, self._config)
        with self._clock.stage("log"):
            self._log.evaluation(number, figures, pictures)
        with self._clock.stage("save"):
            self._checkpoints.judge(number, score)

    def log_if_due(self, done: int, metrics: dict[str, Any]) -> str | None:
        """What to say beside the progress, if anything is new."""
        if done % self._config.log_every and done != self._config.steps:
            return None
        with self._clock.stage("step"):  # waits for the devices
            values = {name: value.item() for name, value in metrics.items()}
        bad = values.pop("skipped_in_a_row")
        _refuse_nonfinite(bad, done, self._config)
        with self._clock.stage("log"):
            self._log.step(done, values)
        return f"loss {values['loss']:.4g}"

    def _evaluation_is_due(self, number: int) -> bool:
        if self._hooks.evaluate is None:
            return False
        every = self._config.evaluate_every
        periodic = every > 0 and number > 0 and number % every == 0
        return periodic or number == self._config.steps


def abstract(tree: PyTree) -> PyTree:
    """Arrays as shapes with shardings: what to restore, and where to."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
    )


def score_of(figures: Figures, config: LoopConfig) -> float | None:
    """What the best checkpoint has least of; None: not to be judged by.

    Raises:
        InputError: `config.best` is not among the figures.
    """
    if not config.best:
        return None
    if config.best not in figures:
        raise InputError(
            f"no held-out figure {config.best}",
            where="--loop.best",
            expected=f"one of {', '.join(sorted(figures))}",
        )
    value = figures[config.best]
    if not math.isfinite(value):
        return None
    return value if config.best_is == "least" else -value


def _refuse_nonfinite(bad: int, done: int, config: LoopConfig) -> None:
    if bad >= config.bad_steps:
        raise InputError(
            f"loss or gradient not finite in steps {done - bad + 1} to {done}",
            fix="look at the data of these steps, or lower the learning rate in "
            "another --workdir",
        )
