# SPDX-License-Identifier: Apache-2.0
"""Timing that a busy machine cannot bend much, beside what the program has to do.

Contenders take turns; medians and spread; the clock and the processor. Floating-point
operations of a program and the bytes of its compiled form, with the two rates measured
on the same device in the same run (`device.py`), give the time that no program with
these operations can beat, the floor.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.device import Rates
from benchmarks.flops import flops
from benchmarks.suite import Options
from i2z_jax.train.compiled_step import CompiledStep
from i2z_jax.train.state import TrainState
from i2z_jax.train.step import Objective, train_step


class Cost(NamedTuple):
    """What one run of a program does.

    Attributes:
        flops: of its matrix products and convolutions as written (`flops.py`).
        bytes: as XLA counts them, read and written by the compiled operations, each
            alone: what stays in a cache or a register between two of them counts too,
            what a library on a GPU reads and writes does not.
        memory: bytes of arguments, results and temporaries, what it needs at its peak.
    """

    flops: float
    bytes: float
    memory: int


class Contender(NamedTuple):
    """Something to call; JAX arrays it returns are waited for.

    Attributes:
        compile_s: seconds of compiling, if that was done and timed before.
        cost: of one call, for a compiled program of JAX.
        program: which that is, for `profile.show`.
    """

    call: Callable[[], Any]
    compile_s: float | None = None
    cost: Cost | None = None
    program: jax.stages.Compiled | None = None


@dataclass(frozen=True)
class Row:
    """One line of a result, in seconds and bytes of one call.

    Attributes:
        subject, case, name: what was measured, at which size, who did it.
        items: images (or frames, files, ...) of a call.
        first_s: compiling, or the first call where that compiles.
        median_s, low_s, high_s: of the calls; the middle half lies between the two.
        cpu_s: median of the processor seconds of all threads together. Where other
            work shares the cores, the ratio of these says more than the clock's.
        ratio: of processor seconds (on an accelerator: the clock's) to the best of
            the peers; below 1 is faster.
        flops, bytes, memory: as of `Cost`.
        floor_s: the larger of flops / matrix rate and bytes / copy bandwidth.
        gap: time over floor; of processor seconds on a CPU.
        utilisation: share of the matrix rate: flops / (time x rate).
    """

    subject: str
    case: str
    name: str
    items: float
    first_s: float | None
    median_s: float
    low_s: float
    high_s: float
    cpu_s: float | None
    ratio: float | None = None
    flops: float | None = None
    bytes: float | None = None
    memory: int | None = None
    floor_s: float | None = None
    gap: float | None = None
    utilisation: float | None = None

    @property
    def busy_s(self) -> float:
        """The time that counts: the processor's on a CPU, else the clock's."""
        on_cpu = jax.default_backend() == "cpu"
        return self.cpu_s if on_cpu and self.cpu_s else self.median_s


def compiled(function: Callable, *arguments: Any) -> tuple[Any, ...]:
    """`(program, seconds, Cost)` of `jax.jit(function)` on these arguments.

    Tracing is part of the seconds: a person waits for it too.
    """
    start = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    return program, seconds, _cost(program, flops(function, *arguments))


def _cost(program: jax.stages.Compiled, work: float) -> Cost:
    counted, needs = program.cost_analysis() or {}, program.memory_analysis()
    memory = (
        needs.argument_size_in_bytes
        + needs.temp_size_in_bytes
        + needs.output_size_in_bytes
        - needs.alias_size_in_bytes
    )
    return Cost(work, counted.get("bytes accessed", 0.0), memory)


def program(function: Callable, *arguments: Any) -> Contender:
    """A pure function on ready arguments, compiled."""
    run, seconds, cost = compiled(function, *arguments)
    return Contender(lambda: run(*arguments), seconds, cost, run)


def training(
    objective: Objective, state: TrainState, frozen: Any, batch: Any, optimizer: Any
) -> Contender:
    """A training step as the loop takes it, compiled; the state, donated, moves on."""
    step = partial(train_step, objective=objective, optimizer=optimizer, seed=0)
    work = flops(step, state, frozen, batch)
    start = time.perf_counter()
    running = CompiledStep(step, state, frozen, batch)
    seconds = time.perf_counter() - start
    cost = _cost(running.program, work)
    return Contender(partial(running, batch), seconds, cost, running.program)


def race(
    subject: str,
    case: str,
    contenders: Mapping[str, Contender],
    options: Options,
    rates: Rates,
    items: float,
) -> Iterator[Row]:
    """Time callables in turns, so that what slows the machine slows all of them.

    Those without a `cost` are peers: ratios are to the fastest of them.

    Args:
        options: the rounds are calls of each, after the first and one more to warm up.
        items: images of one call.
    """
    first = {name: _seconds(each.call)[0] for name, each in contenders.items()}
    for each in contenders.values():
        _seconds(each.call)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for turn in range(options.rounds):
        # Every other round backwards: nobody always runs behind the same neighbour.
        for name in list(contenders)[:: 1 if turn % 2 else -1]:
            seconds[name].append(_seconds(contenders[name].call))
    rows = []
    for name, (_, compile_s, cost, _) in contenders.items():
        rows.append(
            row(
                subject, case, name, items, rates=rates, cost=cost,
                first_s=first[name] if compile_s is None else compile_s,
                **of_many(seconds[name]),
            )
        )  # fmt: skip
    peers = [r.busy_s for r in rows if contenders[r.name].cost is None]
    for each in rows:
        ratio = each.busy_s / min(peers) if peers else None
        yield Row(**{**vars(each), "ratio": ratio})
    if options.profile:
        from benchmarks import profile  # which knows contenders

        profile.show(case, contenders)


def row(
    subject: str,
    case: str,
    name: str,
    items: float,
    *,
    rates: Rates,
    cost: Cost | None = None,
    **measured: Any,
) -> Row:
    """A row with its floor, where the program was counted."""
    plain = Row(subject, case, name, items, **measured)
    if cost is None:
        return plain
    floor = max(cost.flops / rates.flops, cost.bytes / rates.bytes)
    return Row(
        **{
            **vars(plain),
            **cost._asdict(),
            "floor_s": floor,
            "gap": plain.busy_s / floor if floor else None,
            "utilisation": cost.flops / rates.flops / plain.busy_s,
        }
    )


def once(seconds: float, cpu_s: float | None = None) -> dict[str, float | None]:
    """The times of a row that was measured a single time."""
    clock = dict.fromkeys(("median_s", "low_s", "high_s"), seconds)
    return {"first_s": None, **clock, "cpu_s": cpu_s}


def of_many(seconds: Sequence[tuple[float, float]]) -> dict[str, float]:
    """The times of a row from several measurements, each of clock and processor."""
    clock, cpu = np.transpose(seconds)
    low, median, high = (float(q) for q in np.quantile(clock, (0.25, 0.5, 0.75)))
    cpu_s = float(np.median(cpu))
    return {"median_s": median, "low_s": low, "high_s": high, "cpu_s": cpu_s}


def _seconds(call: Callable[[], Any]) -> tuple[float, float]:
    clock, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(call())
    return time.perf_counter() - clock, time.process_time() - cpu
