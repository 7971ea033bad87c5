# SPDX-License-Identifier: Apache-2.0
"""Many rows, a few at a time: one size, so that one program is compiled."""

import numpy as np

from i2z_jax.types import Int, NDArray


def chunks(count: int, size: int) -> list[tuple[Int[NDArray, "size"], slice]]:
    """Divide rows into chunks of one size.

    The last chunk begins earlier, to end where the rows do; of fewer rows than a chunk
    takes, the last one repeats.

    Returns:
        For each chunk its rows, and which of its results are new.
    """
    found = []
    for start in range(0, count, size):
        first = max(0, min(start, count - size))
        rows = np.minimum(np.arange(first, first + size), count - 1)
        found.append((rows, slice(start - first, min(size, count - first))))
    return found
