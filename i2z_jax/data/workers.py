# SPDX-License-Identifier: Apache-2.0
"""How many workers there may be, and what those that are processes have in common: none
outlives the process that started it."""

import multiprocessing
import os
import threading


def core_count() -> int:
    """Cores that this process may use: a scheduler often gives it fewer than the
    machine has."""
    if hasattr(os, "sched_getaffinity"):  # macOS has none
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def end_with_parent() -> None:
    """Called in a worker when it starts: it ends with its parent, even a killed one."""

    def follow() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
