# SPDX-License-Identifier: Apache-2.0
"""Where arrays live: the device mesh, batches over it, large kernels over `fsdp`.

The only file that decides on which devices arrays live (DESIGN section 11). Steps
are written for one device; `jax.jit` divides them by what this file says about their
arguments. Axes: `data` and `fsdp`, both of which split the batch; `fsdp` also splits
large dense kernels and their optimiser moments.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from i2z_jax.errors import InputError
from i2z_jax.types import Int, NDArray, PyTree
from i2z_jax.wording import counted

T = TypeVar("T")

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
            where="--fsdp",
            expected=f"a divisor of {counted(len(devices), 'device')}",
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
            where="--batch-size",
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


def put(tree: PyTree, shardings: PyTree) -> PyTree:
    """Arrays that every process holds whole, as global arrays.

    Sends nothing between processes: unlike `jax.device_put`, which compares the copies
    of all hosts byte by byte; `workdir.remember_frozen` compares their
    hashes instead.

    Args:
        tree: arrays of the host or of one device; what is in its place already stays.
        shardings: one for all, or a tree of them.
    """

    def one(x: Any, sharding: Sharding) -> jax.Array:
        if sharding.is_fully_addressable:
            return jax.device_put(x, sharding)
        if isinstance(x, jax.Array) and x.sharding.is_equivalent_to(sharding, x.ndim):
            return x
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda i: host[i])

    if isinstance(shardings, Sharding):
        return jax.tree.map(lambda x: one(x, shardings), tree)
    return jax.tree.map(one, tree, shardings)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """`put`, the same copy on every device."""
    return put(tree, replicated(mesh))


def whole(tree: PyTree, mesh: Mesh) -> PyTree:
    """A copy of global arrays on this process's first device, divided ones gathered."""
    gathered = jax.jit(lambda t: t, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(lambda x: x.addressable_data(0), gathered)


def shares(tree: PyTree) -> PyTree:
    """Where to read arrays to, so that processes do not all read the same.

    Of a large array with copies on several devices each of these gets a part; `placed`
    makes them whole. Each part lies along the axis, and in the order, that Orbax wrote
    the parts of as many copies in: no device reads more than its own.

    Args:
        tree: `jax.ShapeDtypeStruct`s with shardings.
    """
    if jax.process_count() == 1:
        return tree

    def share(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        if math.prod(x.shape) < LARGE:
            return x
        assert isinstance(x.sharding, NamedSharding)
        mesh, spec = x.sharding.mesh, list(x.sharding.spec)
        spec += [None] * (len(x.shape) - len(spec))
        copies = [name for name in mesh.axis_names if name not in spec]
        ways = math.prod(mesh.shape[name] for name in copies)
        sizes = enumerate(x.sharding.shard_shape(x.shape))
        axis = next((axis for axis, size in sizes if size % ways == 0), None)
        if axis is None:
            return x
        spec[axis] = (*([spec[axis]] if spec[axis] else []), *copies)
        place = NamedSharding(mesh, P(*spec))
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)

    return jax.tree.map(share, tree)


def placed(tree: PyTree, like: PyTree) -> PyTree:
    """Arrays that were read as `shares(like)`, where `like` says."""
    if jax.process_count() == 1:
        return tree
    places = jax.tree.map(lambda x: x.sharding, like)
    return jax.jit(lambda t: t, out_shardings=places)(tree)


def is_first_process() -> bool:
    """Whether this process writes what is written once a run."""
    return jax.process_index() == 0


def from_every_process(text: str) -> list[str]:
    """All-gather of a string, in process order; every process must call it."""
    if jax.process_count() == 1:
        return [text]
    ours = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(ours)))
    padded = np.zeros(max(int(np.max(sizes)), 1), np.uint8)
    padded[: len(ours)] = ours
    rows = multihost_utils.process_allgather(padded)
    return [
        row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)
    ]


def of_first_process(arrays: PyTree) -> PyTree:
    """What the first process has computed of something that each computes for itself:
    other hardware rounds otherwise, and the sign of an eigenvector is anyone's choice.
    """
    if jax.process_count() == 1:
        return arrays
    return multihost_utils.broadcast_one_to_all(arrays)


@contextmanager
def by_first_process(context: AbstractContextManager[T]) -> Iterator[T | None]:
    """Enter a context in process 0 only; the others get None and its InputError.

    Raises:
        InputError: the context's own, in every process.
    """
    with ExitStack() as stack:
        entered, problem = None, None
        if is_first_process():
            try:
                entered = stack.enter_context(context)
            except InputError as error:
                problem = error
        told, *_ = from_every_process(str(problem or ""))
        if told:
            raise problem or InputError(told)
        yield entered


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


def with_whole_kernels(objective: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """Wrap an objective to all-gather its fsdp-sharded parameters first.

    Without it the compiler is free to send activations to where a part of a kernel is.
    Kernels are sent instead: what is sent does not depend on the batch. Gradients are
    divided as their kernels are before anything reads them; each device is to hold its
    part of the sum over devices, and not all of it (a reduce-scatter, where the
    compiler knows one).

    Args:
        objective: its first argument is the parameters.
    """
    if mesh.shape["fsdp"] == 1:
        return objective

    @jax.custom_vjp
    def gathered(params: PyTree) -> PyTree:
        return jax.lax.with_sharding_constraint(params, replicated(mesh))

    def divided(_: None, gradient: PyTree) -> tuple[PyTree]:
        places = parameter_shardings(gradient, mesh)
        return (jax.lax.with_sharding_constraint(gradient, places),)

    gathered.defvjp(lambda params: (gathered(params), None), divided)
    return lambda params, *arguments: objective(gathered(params), *arguments)


def on_each_device(function: Callable[..., Any], mesh: Mesh, *, shared: int) -> Any:
    """`shard_map` over the batch: each device runs the function on its own rows.

    For what must not be synchronised across devices, such as a loop that runs until its
    own rows are done. Rows of the result come from the same rows of the
    arguments, so nothing is sent.

    Args:
        function: its first arguments are batches, its results too.
        shared: how many of its last arguments are not, and are whole on every device.
    """

    def local(*arguments: Any) -> Any:
        rows = P(("data", "fsdp"))
        batches = len(arguments) - shared
        return jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(rows,) * batches + (P(),) * shared,
            out_specs=rows,
            # Loops that start from constants are not of one kind with their results.
            check_vma=False,
        )(*arguments)

    return local
