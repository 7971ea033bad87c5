# SPDX-License-Identifier: Apache-2.0
"""Where arrays live: the device mesh, batches over it, large kernels over `fsdp`.

The only file that knows about several devices or hosts (DESIGN section 11). Steps
are written for one device; `jax.jit` divides them by what this file says about their
arguments. Axes: `data` and `fsdp`, both of which split the batch; `fsdp` also splits
large dense kernels and their optimiser moments.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from i2z_jax.errors import InputError
from i2z_jax.types import Int, NDArray

PyTree = Any

# Kernels below this many elements are replicated: to gather them costs more than it
# saves. 2^20 float32 are 4 MiB, 12 with Adam's moments.
LARGE = 2**20


def create_mesh(*, fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh (`data`, `fsdp`) of a run.

    Args:
        fsdp: devices that share one copy of the large kernels.
        devices: what to use; every device of every host by default.

    Raises:
        InputError: the devices cannot be divided into groups of `fsdp`.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise InputError(
            "the mesh does not fit the devices",
            where="fsdp",
            expected=f"a divisor of {len(devices)} devices",
            got=fsdp,
        )
    shape = (len(devices) // fsdp, fsdp)
    # Auto: the compiler divides what follows, gathers and scatters included.
    types = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh(shape, ("data", "fsdp"), types, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis over all devices, the others whole."""
    return NamedSharding(mesh, P(("data", "fsdp")))


def local_rows(mesh: Mesh, batch_size: int) -> Int[NDArray, "rows"]:
    """The rows of a global batch that this process's devices hold, in order.

    What `data.batches` calls `rows`: `endless(..., rows=partial(local_rows, mesh))`.

    Raises:
        InputError: the batch cannot be divided over the devices.
    """
    if batch_size % mesh.size:
        raise InputError(
            "the batch does not divide over the devices",
            where="batch_size",
            expected=f"a multiple of {mesh.size}",
            got=batch_size,
        )
    indices = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    rows = [np.arange(batch_size)[place] for (place,) in indices.values()]  # pyrefly: ignore
    return np.unique(np.concatenate(rows))


def to_global(batch: PyTree, mesh: Mesh) -> PyTree:
    """Host arrays, the rows of this process, as one global array over the mesh.

    Returns at once: the copy to the devices runs while the host goes on, so a step
    that was dispatched before computes while the next batch travels.

    Args:
        batch: any tree of arrays whose first axis is `local_rows`.
    """
    sharding = batch_sharding(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )


def parameter_shardings(tree: PyTree, mesh: Mesh) -> PyTree:
    """A sharding for every leaf of parameters or of a whole train state.

    Matrices of `LARGE` or more elements, which are the dense kernels and their
    moments, are divided along their longest axis that `fsdp` divides; the rest is
    replicated.

    Args:
        tree: arrays or shapes (`jax.eval_shape`).
    """
    ways = mesh.shape["fsdp"]

    def sharding(leaf: Any) -> NamedSharding:
        axes = [a for a, size in enumerate(leaf.shape) if size % ways == 0]
        large = len(leaf.shape) == 2 and math.prod(leaf.shape) >= LARGE
        if ways == 1 or not large or not axes:
            return replicated(mesh)
        longest = max(axes, key=lambda a: leaf.shape[a])
        return NamedSharding(mesh, P(*(None,) * longest, "fsdp"))

    return jax.tree.map(sharding, tree)
