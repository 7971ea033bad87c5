# SPDX-License-Identifier: Apache-2.0
"""Memory of a step on each device: counted before it runs, measured after.

`jax.jit` compiles ahead, so the compiler's own count is there before the first step.
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import jax

from i2z_jax.errors import InputError
from i2z_jax.train.state import TrainState
from i2z_jax.types import PyTree


class Memory(NamedTuple):
    """Bytes on one device during a step, by what they hold.

    Attributes:
        parameters: what is trained, and the statistics that go with it.
        moments: the optimiser's.
        frozen: what is read only: networks, and the frames that `adapt` keeps.
        batch: one batch.
        activations: the compiler's temporaries: activations and gradients.
        outputs: what does not take the place of a donated argument.
    """

    parameters: int
    moments: int
    frozen: int
    batch: int
    activations: int
    outputs: int

    @property
    def total(self) -> int:
        return sum(self)

    def __str__(self) -> str:
        parts = ", ".join(
            f"{name} {_mib(size)}" for name, size in self._asdict().items()
        )
        return f"{_mib(self.total)} per device: {parts}"


def needed(state: TrainState, frozen: PyTree, batch: PyTree, compiled: Any) -> Memory:
    """Memory that a step, compiled for these arguments, needs."""
    stats = compiled.memory_analysis()
    return Memory(
        parameters=on_one_device((state.params, state.stats)),
        moments=on_one_device(state.opt_state),
        frozen=on_one_device(frozen),
        batch=on_one_device(batch),
        activations=stats.temp_size_in_bytes,
        outputs=stats.output_size_in_bytes - stats.alias_size_in_bytes,
    )


def on_one_device(tree: PyTree) -> int:
    """Bytes of arrays, or of shapes with shardings, that one device holds."""
    return sum(
        prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
        for x in jax.tree.leaves(tree)
    )


class Peak(NamedTuple):
    """The most memory that was in use so far."""

    size: int
    # "device", or on a CPU the whole "process": libraries and data as well.
    of: str

    def __str__(self) -> str:
        return f"{_mib(self.size)} of the {self.of}"


def peak() -> Peak:
    """Measured, of this process's first device."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return Peak(stats["peak_bytes_in_use"], "device")
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Peak(largest if sys.platform == "darwin" else largest * 1024, "process")


@contextmanager
def shortage_is_bad_input(fix: str) -> Iterator[None]:
    """Around what is compiled and run: too much at once has a remedy.

    Args:
        fix: that remedy.

    Raises:
        InputError: a device is out of memory.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InputError(
            f"a device is out of memory ({str(error).splitlines()[0][:200]})",
            fix=fix,
        ) from error


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
