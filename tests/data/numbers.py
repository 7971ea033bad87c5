# SPDX-License-Identifier: Apache-2.0
"""A stream of numbers: batches in which every example, and its chance, is known."""

import numpy as np

from i2z_jax.data.batches import Stream
from i2z_jax.errors import InputError

SEED = 11


class Numbers:
    """Example i is the number i; 66 is damaged."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == 66:
            raise InputError("bad record", where="record 66")
        return {"number": np.int32(index), "draw": np.float64(0)}


def draw(example, rng):
    return {**example, "draw": rng.random()}


def stream(count=10, batch_size=4):
    return Stream(Numbers(count), batch_size, draw)
