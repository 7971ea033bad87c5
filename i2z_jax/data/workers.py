# SPDX-License-Identifier: Apache-2.0
"""What worker processes have in common: none outlives the process that started it."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Called in a worker when it starts: it ends with its parent, even a killed one."""

    def follow() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
