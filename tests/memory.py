# SPDX-License-Identifier: Apache-2.0
"""How much memory Python and NumPy held at most."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def most_memory() -> Iterator[Callable[[], int]]:
    """Within the block, tells the most bytes held at once since its start."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
