# SPDX-License-Identifier: Apache-2.0
"""A profiler trace of a few steps of a run, for TensorBoard and Perfetto."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from i2z_jax.sharding import is_first_process

# Steps before the trace: compiling and filling of caches is over.
WARM = 10


class Trace:
    """Traces some steps of the first process, from its `WARM`-th on, or as many as
    there are. The files of others on its host would have the same names.

    Args:
        folder: WORKDIR/profile.
        steps: how many; 0: none.
    """

    def __init__(self, folder: Path, steps: int):
        self._folder, self._steps = folder, steps if is_first_process() else 0
        self._taken, self._running = 0, False

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around the dispatch of a step."""
        if self._steps and self._taken == WARM:
            jax.profiler.start_trace(str(self._folder))
            self._running = True
        self._taken += 1
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield

    def wait(self, result: Any) -> None:
        """End the trace after its last step, once `result` is computed."""
        if self._running and self._taken == WARM + self._steps:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        """Write what was traced."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
