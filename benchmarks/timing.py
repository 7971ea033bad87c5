# SPDX-License-Identifier: Apache-2.0
"""Timing that a busy machine cannot bend much: interleaved, median, spread, ratio."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.table import Table


class Timing(NamedTuple):
    """Seconds of one contender.

    Attributes:
        first: of the first call, compilation included.
        median: of the calls after warming up.
        quartiles: where the middle half of them lies.
        cpu: median of the processor seconds of all threads together. Where other
            work shares the cores, the ratio of these says more than the clock's.
    """

    first: float
    median: float
    quartiles: tuple[float, float]
    cpu: float


def race(contenders: dict[str, Callable[[], Any]], *, rounds: int) -> dict[str, Timing]:
    """Time callables in turns, so that what slows the machine slows all of them.

    Args:
        contenders: what to call; JAX arrays returned are waited for.
        rounds: calls of each, after the first and one more to warm up.
    """
    first = {name: _seconds(call)[0] for name, call in contenders.items()}
    for call in contenders.values():
        _seconds(call)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for turn in range(rounds):
        # Every other round backwards: nobody always runs behind the same neighbour.
        for name in list(contenders)[:: 1 if turn % 2 else -1]:
            seconds[name].append(_seconds(contenders[name]))
    timings = {}
    for name, pairs in seconds.items():
        clock, cpu = np.transpose(pairs)
        low, median, high = (float(q) for q in np.quantile(clock, (0.25, 0.5, 0.75)))
        timings[name] = Timing(first[name], median, (low, high), float(np.median(cpu)))
    return timings


def table(title: str, timings: dict[str, Timing], peer: str) -> Table:
    """Rows of a race; the ratio is to the contender named `peer`, below 1 is faster."""
    columns = ("first call s", "median s", "middle half s", "ratio", "cpu s", "ratio")
    rows = Table("", *columns, title=title)
    other = timings[peer]
    for name, timing in timings.items():
        low, high = timing.quartiles
        rows.add_row(
            name,
            f"{timing.first:.2f}",
            f"{timing.median:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{timing.median / other.median:.2f}",
            f"{timing.cpu:.3f}",
            f"{timing.cpu / other.cpu:.2f}",
        )
    return rows


def _seconds(call: Callable[[], Any]) -> tuple[float, float]:
    clock, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(call())
    return time.perf_counter() - clock, time.process_time() - cpu
