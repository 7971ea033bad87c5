# SPDX-License-Identifier: Apache-2.0
"""Where the time of a run goes: seconds and frames of each stage, compiling apart."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")

COMPILE = "compile"


@dataclass
class Stopwatch:
    """Seconds and frames by stage, in the order in which stages first ran."""

    seconds: dict[str, float] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, frames: int = 0) -> Iterator[None]:
        """Count the time of a block, which worked on that many frames."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start, frames)

    def add(self, name: str, seconds: float, frames: int = 0) -> None:
        """Count time that was measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.frames[name] = self.frames.get(name, 0) + frames

    def each(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Iterate, counting what each next item takes."""
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            item = next(iterator, None)
            self.add(name, time.perf_counter() - start, int(item is not None))
            if item is None:
                return
            yield item

    def fps(self, name: str) -> float | None:
        """Frames a second of a stage, None for one that counts no frames."""
        frames, seconds = self.frames.get(name, 0), self.seconds.get(name, 0.0)
        return frames / seconds if frames and seconds else None
