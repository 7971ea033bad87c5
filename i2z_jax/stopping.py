# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM as exceptions that are not lost.

Python raises them at whatever line the main thread has come to. In a destructor or in
a callback of the garbage collector, of which JAX has one, exceptions are dropped, and
the command would go on; a library that takes every exception for a failure of its own
would call a file damaged that it was told to leave.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(BaseException):
    """SIGTERM, where nothing listens for it: what is half-written is removed."""


RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
# After so many seconds, what was dropped is raised once more.
AGAIN_S = 0.05

# Signals that wait for the end of a `later` block; None outside of one.
_waiting: list[int] | None = None


@contextmanager
def heard() -> Iterator[None]:
    """Inside, SIGINT raises KeyboardInterrupt and SIGTERM `Terminated`, until it is
    caught. Only in the main thread, to which Python gives signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Not where the shell had Ctrl-C ignored, as for a job in the background.
    numbers = [n for n in RAISED if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _raise) for number in numbers}
    hook, sys.unraisablehook = sys.unraisablehook, _raise_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, answer in before.items():
            signal.signal(number, answer)


@contextmanager
def later() -> Iterator[None]:
    """Inside, a signal that is `heard` waits for the end of the block."""
    global _waiting
    outer, _waiting = _waiting, [] if _waiting is None else _waiting
    try:
        yield
    finally:  # also where the block fails: who catches that has not been told to stop
        waited, _waiting = _waiting, outer
        if outer is None and waited:
            raise RAISED[signal.Signals(waited[0])]


def _raise(number: int, _frame: object) -> None:
    if _waiting is not None:
        _waiting.append(number)
    else:
        raise RAISED[signal.Signals(number)]


def _raise_again(dropped: "sys.UnraisableHookArgs") -> None:
    """Python's answer to an exception that it drops."""
    for number, kind in RAISED.items():
        if dropped.exc_type is kind:
            timer = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
            timer.daemon = True
            timer.start()
            return
    sys.__unraisablehook__(dropped)
