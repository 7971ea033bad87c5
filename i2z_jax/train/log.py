# SPDX-License-Identifier: Apache-2.0
"""Logging of a run: console lines, metrics, curves, pictures, and its time by part.

workdir/metrics.jsonl   one line a logged step, see `MetricsLog`
workdir/tensorboard/    the same as curves, and pictures of held-out examples
workdir/machine.json    devices, compile time, memory and seconds of the last process

Written by the first process of a run; in the others all of this does nothing.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from i2z_jax import console
from i2z_jax.errors import InputError
from i2z_jax.files import FULL, write_json
from i2z_jax.sharding import is_first_process
from i2z_jax.stopwatch import Stopwatch
from i2z_jax.train import memory
from i2z_jax.train.board import Board
from i2z_jax.train.memory import Memory
from i2z_jax.train.metrics_log import MetricsLog
from i2z_jax.types import NDArray, UInt8
from i2z_jax.wording import counted


class RunLog:
    """The files above, from `start` on.

    What it is told to write raises InputError where the disk is full.

    Args:
        workdir: held by this process.
        start: the step that the run goes on from.
        batch_size: images in a batch, for images/s.
        clock: of the loop, started now. `step` is the devices' work as far as the host
            waited for it: what it did meanwhile (`data`, mostly) took no longer for it.
        evaluated: whether the evaluation of `start` is done (`MetricsLog`).
    """

    def __init__(
        self,
        workdir: Path,
        start: int,
        batch_size: int,
        clock: Stopwatch,
        *,
        evaluated: bool = True,
    ):
        self._begun = time.perf_counter()
        self._spent: dict[str, float] = {}  # as it was logged last
        self._writes = is_first_process()
        self._workdir, self._start = workdir, start
        self._batch_size, self._clock = batch_size, clock
        self._machine: dict[str, Any] = {}
        if self._writes:
            self._lines = MetricsLog(workdir, start, evaluated=evaluated)
            with self._writing():
                self._board = Board(workdir / "tensorboard", start)

    def step(self, done: int, values: Mapping[str, float]) -> None:
        """Loss, terms and norms after `done` steps."""
        if not self._writes:
            return
        if "peak_bytes" not in self._machine:
            peak = memory.peak()
            console.err.print(f"peak memory so far {peak}")
            self._note(peak_bytes=peak.size, peak_of=peak.of)
        now = time.perf_counter()
        then, before = self._last
        self._last = (now, done)
        rate = (done - before) * self._batch_size / max(now - then, 1e-9)
        # Under one key, because it is the one part that no two runs share.
        speed = {"images_per_s": round(rate, 2), "seconds": self._since_last()}
        with self._writing():
            self._lines.write(done, {**values, "speed": speed})
            self._board.curves(done, {**values, "images_per_s": rate})

    def evaluation(
        self,
        done: int,
        figures: Mapping[str, float],
        pictures: Mapping[str, UInt8[NDArray, "h w 3"]],
    ) -> None:
        """Figures and pictures of held-out examples after `done` steps."""
        if not self._writes:
            return
        with self._writing():
            self._lines.write(done, dict(figures))
            self._board.curves(done, figures)
            self._board.pictures(done, pictures)

    def compiled(self, seconds: float, needed: Memory) -> None:
        """What is known before the first step, which is about to be taken."""
        self._last = (time.perf_counter(), self._start)
        console.err.print(f"compiled in {seconds:.1f} s; needs {needed}")
        self._note(
            devices=f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            processes=jax.process_count(),
            compile_s=round(seconds, 2),
            needed_bytes_per_device={**needed._asdict(), "total": needed.total},
        )

    def finished(self, done: int) -> None:
        """Where the time of this process went, if it took a step."""
        if not self._writes or done == self._start:
            return
        seconds, elapsed = dict(self._clock.seconds), time.perf_counter() - self._begun
        seconds |= {"other": elapsed - sum(seconds.values()), "elapsed": elapsed}
        shares = ", ".join(
            f"{what} {100 * spent / elapsed:.1f} %"
            for what, spent in sorted(seconds.items(), key=lambda item: -item[1])
            if what != "elapsed"
        )
        steps = done - self._start
        console.err.print(f"{counted(steps, 'step')} in {elapsed:.1f} s: {shares}")
        self._note(steps=steps, seconds=_rounded(seconds))

    def close(self) -> None:
        """Write out what is left."""
        if self._writes:
            with self._writing():
                self._board.close()

    def _since_last(self) -> dict[str, float]:
        """Seconds of each stage since the last call."""
        before, self._spent = self._spent, dict(self._clock.seconds)
        return _rounded({k: v - before.get(k, 0.0) for k, v in self._spent.items()})

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise InputError(
                f"cannot write ({error.strerror})",
                where=self._workdir,
                fix="free disk space; the run goes on from its last whole checkpoint",
            ) from error

    def _note(self, **facts: Any) -> None:
        if not self._writes:
            return
        self._machine |= facts
        write_json(self._workdir / "machine.json", self._machine)


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {what: round(value, 4) for what, value in seconds.items()}
