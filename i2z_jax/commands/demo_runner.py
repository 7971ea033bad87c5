# SPDX-License-Identifier: Apache-2.0
"""Runs the demo's stages, each an `i2z` command in a process of its own.

Stages that do not need each other run two at a time: `tiny` networks keep one core
busy, and not two. OUT/demo.json remembers what is done, so an interrupted demo goes on
with the stages it was in, and those from where they were.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any

from i2z_jax.commands.demo_stages import Stage, side_by_side
from i2z_jax.errors import InputError
from i2z_jax.files import write_json
from i2z_jax.stopping import Terminated
from i2z_jax.xla_flags import fast_compile_flags

# The demo promises a laptop; its figures are a CPU's. With less optimisation of what is
# between the convolutions XLA compiles the `tiny` decoder's step in 23 s instead of 52,
# and its older emitters of fused loops take a quarter off adaptation's; the steps take
# as long as before.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": " ".join(
        ["--xla_backend_optimization_level=1", *fast_compile_flags()]
    ),
}


def run_group(stages: Sequence[Stage], diary: "Diary") -> None:
    """Run stages that do not need each other, two at a time; the first has the screen.

    Raises:
        InputError: one failed; those that had not begun by then are not begun.
    """
    # Halves of the cores that are free; a stage by itself has both.
    halves: SimpleQueue[int | None] = SimpleQueue()
    for half in (0, 1) if len(stages) > 1 else (None,):
        halves.put(half)
    failed = Event()
    # Numbers of the stages' processes.
    running: set[int] = set()

    def run_next(stage: Stage) -> None:
        half = halves.get()
        log = None if stage == stages[0] else log_file(diary.out, stage)
        try:
            # Ctrl-C ends those that run; the others are not to begin then.
            if not failed.is_set():
                run_stage(stage, diary, running=running, log=log, half=half)
        except BaseException:
            failed.set()
            raise
        finally:
            halves.put(half)

    with ThreadPoolExecutor(2) as pool:
        try:
            ends = [pool.submit(run_next, stage) for stage in stages]
            wait(ends)
        except Terminated:  # which, unlike Ctrl-C, has reached this process alone
            failed.set()
            for process in tuple(running):
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(process, signal.SIGTERM)
            raise
    for end in ends:
        end.result()


def log_file(out: Path, stage: Stage) -> Path:
    """Where a stage that runs beside another one says what it has to say."""
    return out / "logs" / f"{stage.name.replace(' ', '_')}.log"


def run_stage(
    stage: Stage,
    diary: "Diary",
    *,
    running: set[int],
    log: Path | None,
    half: int | None,
) -> None:
    """Run a stage, and write down how it ended; arguments as of `run_command`.

    Raises:
        InputError: the command failed; it has said why.
    """
    diary.note(stage)
    start = time.monotonic()
    code, peak_mib = run_command(
        diary.command(stage), running=running, log=log, half=half
    )
    done = code == 0 and (diary.out / stage.leaves).exists()
    diary.note(stage, seconds=time.monotonic() - start, peak_mib=peak_mib, done=done)
    if not done:
        raise InputError(
            f"stage {stage.name!r} did not finish (exit code {code})",
            where=log or diary.out,
            fix="the same command goes on from here",
        )


def run_command(
    command: str,
    *,
    running: set[int],
    log: Path | None = None,
    half: int | None = None,
) -> tuple[int, int]:
    """An `i2z` command to its end.

    Args:
        running: its process's number is in it meanwhile.
        log: file for what it prints, in place of the screen.
        half: of this process's cores, 0 or 1, that it is given; None: all. Two that
            both take all cores hinder each other more than they gain.

    Returns:
        its exit code, and the peak of its memory, MiB.
    """
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with nullcontext() if log is None else log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "i2z_jax", *shlex.split(command)],
            env={**ENVIRONMENT, **os.environ},
            stdout=file,
            stderr=file,
        )
        if half is not None and hasattr(os, "sched_setaffinity"):  # Linux
            cores = sorted(os.sched_getaffinity(0))
            middle = len(cores) // 2
            ours = (cores[:middle], cores[middle:])[half]
            os.sched_setaffinity(process.pid, ours or cores)
        running.add(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        running.remove(process.pid)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, else KiB
    return process.returncode, usage.ru_maxrss // unit


class Diary:
    """`demo.json`: what was run, how long it took, and whether it came to its end.

    Raises:
        InputError: the folder is something else's, or cannot be written.
    """

    def __init__(self, out: Path):
        self.out, self.path = out, out / "demo.json"
        self._lock = Lock()
        if self.path.exists():
            self.stages = json.loads(self.path.read_text())
        elif out.is_dir() and any(out.iterdir()):
            raise InputError(
                "already exists and is no demo", where=out, fix="choose another --out"
            )
        else:
            self.stages: dict[str, dict[str, Any]] = {}

    def command(self, stage: Stage) -> str:
        """The words after `i2z` for this folder, as a shell takes them."""
        return stage.command.format(out=shlex.quote(str(self.out)))

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage ended, with what it left still in its place.

        Raises:
            InputError: it was begun by another version, with another command.
        """
        record = self.stages.get(stage.name)
        if record is None:
            return False
        # The first version recorded the folder's name in place of {out}.
        if record["command"] not in (stage.command, self.command(stage)):
            raise InputError(
                f"stage {stage.name!r} was begun with another command",
                where=self.path,
                expected=stage.command,
                got=record["command"],
                fix="choose another --out",
            )
        return record["done"] and (self.out / stage.leaves).exists()

    def note(
        self,
        stage: Stage,
        *,
        seconds: float = 0.0,
        peak_mib: int = 0,
        done: bool = False,
    ) -> None:
        """Write down an attempt; the time of those that were cut short counts too."""
        with self._lock:
            before = self.stages.get(stage.name, {"seconds": 0.0, "peak_mib": 0})
            self.stages[stage.name] = {
                # Without the folder's name: it may be moved.
                "command": stage.command,
                "seconds": before["seconds"] + round(seconds, 1),
                "peak_mib": max(before["peak_mib"], peak_mib),
                "done": done,
            }
            write_json(self.path, self.stages)

    def seconds(self, stage: Stage) -> float:
        """What a stage took, all attempts together."""
        return self.stages[stage.name]["seconds"]

    def totals(self, stages: Sequence[Stage]) -> dict[str, Any]:
        """Minutes by stage and in all, and memory: the most that two can have had."""
        seconds, memory = 0.0, 0
        for group in side_by_side(stages):
            records = [self.stages[stage.name] for stage in group]
            # Two at a time, the next one when one ends.
            ends = [0.0, 0.0]
            for record in records:
                ends[ends.index(min(ends))] += record["seconds"]
            seconds += max(ends)
            memory = max(memory, sum(sorted(r["peak_mib"] for r in records)[-2:]))
        return {
            "minutes": {s.name: round(self.seconds(s) / 60, 2) for s in stages},
            "minutes_total": round(seconds / 60, 2),
            "peak_memory_mib": memory,
        }
