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
    """

    first: float
    median: float
    quartiles: tuple[float, float]


def race(
    contenders: dict[str, Callable[[], Any]], *, rounds: int = 9
) -> dict[str, Timing]:
    """Time callables in turns, so that what slows the machine slows all of them.

    Args:
        contenders: what to call; JAX arrays returned are waited for.
        rounds: calls of each, after the first and one more to warm up.
    """
    first = {name: _seconds(call) for name, call in contenders.items()}
    for call in contenders.values():
        _seconds(call)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        # Every other round backwards: nobody always runs behind the same neighbour.
        for name in list(contenders)[:: 1 if turn % 2 else -1]:
            seconds[name].append(_seconds(contenders[name]))
    return {
        name: Timing(
            first[name],
            float(np.median(times)),
            tuple(float(q) for q in np.quantile(times, (0.25, 0.75))),  # pyrefly: ignore
        )
        for name, times in seconds.items()
    }


def table(title: str, timings: dict[str, Timing], peer: str) -> Table:
    """Rows of a race; the ratio is to the contender named `peer`, below 1 is faster."""
    rows = Table("", "first call s", "median s", "middle half s", "ratio", title=title)
    for name, timing in timings.items():
        low, high = timing.quartiles
        ratio = timing.median / timings[peer].median
        numbers = (f"{timing.first:.2f}", f"{timing.median:.3f}")
        rows.add_row(name, *numbers, f"{low:.3f} to {high:.3f}", f"{ratio:.2f}")
    return rows


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start
