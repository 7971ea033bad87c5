# SPDX-License-Identifier: Apache-2.0
"""SIGTERM ends a run after the step in flight, with everything saved; in a single
process, Ctrl-C does, too."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.experimental import multihost_utils

from i2z_jax import console


class Preemption:
    """Whether this run was asked to stop; every process gets the same answer.

    Schedulers send SIGTERM to the processes of a job at different moments. With
    several processes the coordination service of `jax.distributed` listens for it and
    names a step that all of them still reach.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._interrupted = False

    def requested(self, step: int) -> bool:
        """Whether to save and leave before taking `step`."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked.is_set()

    @contextmanager
    def listening(self) -> Iterator["Preemption"]:
        """Note SIGTERM and Ctrl-C instead of dying of them, until the block ends.

        Raises:
            KeyboardInterrupt: after the block, if it was Ctrl-C; at a second one, at
                once.
        """
        if jax.process_count() > 1:
            yield self
            return
        answers = {
            signal.SIGTERM: lambda *_: self._asked.set(),
            signal.SIGINT: self._interrupt,
        }
        before = {number: signal.signal(number, f) for number, f in answers.items()}
        try:
            yield self
        finally:
            for number, answer in before.items():
                signal.signal(number, answer)
        if self._interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        self._asked.set()
        console.err.print("stopping after this step; Ctrl-C again leaves it unsaved")
