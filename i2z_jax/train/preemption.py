# SPDX-License-Identifier: Apache-2.0
"""SIGTERM ends a run after the step in flight, with everything saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.experimental import multihost_utils


class Preemption:
    """Whether this run was asked to stop; every process gets the same answer.

    Schedulers send SIGTERM to the processes of a job at different moments. With
    several processes the coordination service of `jax.distributed` listens for it and
    names a step that all of them still reach.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()

    def requested(self, step: int) -> bool:
        """Whether to save and leave before taking `step`."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked.is_set()

    @contextmanager
    def listening(self) -> Iterator["Preemption"]:
        """Note SIGTERM instead of dying of it, until the block ends."""
        if jax.process_count() > 1:
            yield self
            return
        before = signal.signal(signal.SIGTERM, lambda *_: self._asked.set())
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)
