# SPDX-License-Identifier: Apache-2.0
"""Examples -> batches: the same ones on any number of hosts and workers, resumable.

Everything follows from a number. Position p of a stream is an example (epoch p // n,
shuffled with a seed of that epoch) and its augmentation (grain's generator, keyed by
seed and p). Global batch i is positions i B to (i + 1) B - 1; a host loads its rows
of it and a worker whole batches. So hosts and workers change who computes a row and
never what is in it, and an iterator's state is the number of the next batch: it can be
restored on another number of hosts and workers.

Batches are dictionaries of NumPy arrays, batch axis first; images stay uint8 until
they are on the device, a quarter of the bytes to move.
"""

import gc
import signal
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any, Protocol, runtime_checkable

import absl.flags
import cv2
import grain
import numpy as np

from i2z_jax.data.workers import end_with_parent
from i2z_jax.errors import InputError
from i2z_jax.types import Example, Int, NDArray

# Global batch size -> the rows of a batch that this process loads.
RowsOf = Callable[[int], np.ndarray]

# Batches that each worker keeps ready.
_READY = 2


@runtime_checkable
class Source(Protocol):
    """Random access to examples: dictionaries of NumPy arrays of fixed shapes."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Example: ...


class Picked:
    """Some examples of a source, by number, in an order and as often as asked for."""

    def __init__(self, source: Source, index: Int[NDArray, "k"]):
        self._source, self._index = source, index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Example:
        return self._source[int(self._index[index])]


@dataclass(frozen=True)
class Stream:
    """One kind of example, and how many of them make a global batch.

    Attributes:
        source: the examples; picklable, as workers get a copy.
        batch_size: rows of a global batch, all hosts together.
        augment: example and generator to example, see `augment.py`.
    """

    source: Source
    batch_size: int
    augment: Callable[[Example, np.random.Generator], Example] | None = None


def endless(
    streams: Stream | Mapping[str, Stream],
    *,
    seed: int,
    rows: RowsOf = np.arange,
    workers: int = 0,
) -> "Batches":
    """Shuffled batches without end, for training; every epoch has its own order.

    Args:
        streams: one stream, for batches `{field: array}`; or several by name, for
            batches `{name: {field: array}}` in which each stream keeps its share.
        seed: of order and augmentation. A stream's own depends on its name alone: to
            mix in another stream does not change the batches of the first.
        rows: which rows of a global batch to load, `sharding.local_rows` on several
            hosts; all of them by default.
        workers: processes that load. 0 loads in this one, when a batch is asked for.

    Raises:
        InputError: a stream without examples.
    """
    named = {"": streams} if isinstance(streams, Stream) else dict(streams)
    parents = {}
    for name, stream in named.items():
        _require_examples(name, stream)
        order, draws = np.random.SeedSequence(
            [seed, zlib.crc32(name.encode())]
        ).generate_state(2)
        ds = grain.MapDataset.source(stream.source).shuffle(seed=int(order)).repeat()
        if stream.augment is not None:
            ds = ds.random_map(stream.augment, seed=int(draws))
        parents[name] = ds
    dataset = _HostBatches(parents, named, rows, len(next(iter(parents.values()))))
    identity = {"seed": seed, "streams": {n: _sizes(s) for n, s in named.items()}}
    return Batches(dataset, identity, workers)


def one_pass(
    stream: Stream, *, rows: RowsOf = np.arange, workers: int = 0
) -> "Batches":
    """Every example once, in order, for evaluation.

    The last batch is filled up with the last example, so that all have one shape; a
    field `valid` (b,) bool says which rows count.
    """
    _require_examples("", stream)
    ds = grain.MapDataset.source(stream.source)
    if stream.augment is not None:
        ds = ds.random_map(stream.augment, seed=0)
    count = -(-len(stream.source) // stream.batch_size)
    padded = _Padded(ds, count * stream.batch_size)
    dataset = _HostBatches({"": padded}, {"": stream}, rows, count)
    return Batches(dataset, {"seed": 0, "streams": {"": _sizes(stream)}}, workers)


class Batches:
    """An iterator over batches that can say where it is and go there.

    `get_state` is the batch that `next` returns next, whatever workers have prepared
    already. `close` it, or use it in a `with`, when the workers should end before the
    program does.
    """

    def __init__(self, dataset: grain.MapDataset, identity: dict, workers: int):
        self._dataset, self._identity, self._workers = dataset, identity, workers
        self._position = 0
        self._running: list[grain.DatasetIterator] = []
        # Also at exit: grain's own clean-up comes after the modules that it needs.
        weakref.finalize(self, _close_all, self._running, workers)

    def __iter__(self) -> "Batches":
        return self

    def __len__(self) -> int:
        """Batches from the first to the last; without meaning for `endless`."""
        return len(self._dataset)

    def __next__(self) -> dict[str, Any]:
        if self._running:
            batch = next(self._running[0])
        else:
            with _children_deaf() if self._workers else nullcontext():
                self._running.append(self._start())
                batch = next(self._running[0])
        self._position += 1
        return _own(batch) if self._workers else batch

    def get_state(self) -> dict[str, Any]:
        """Where we are, as JSON; the same on every host."""
        return {"position": self._position, **self._identity}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same streams.

        Raises:
            InputError: the state is of another seed, batch size or number of examples,
                with which "the next batch" would not be the one that was meant.
        """
        for name, ours in self._identity.items():
            if state[name] != ours:
                raise InputError(
                    f"the saved data position is of another {name}",
                    expected=ours,
                    got=state[name],
                    fix="resume with the settings of the run, or start a new workdir",
                )
        self.close()
        self._position = int(state["position"])

    def close(self) -> None:
        """End the workers. The next `next` would start new ones at the same place."""
        _close_all(self._running, self._workers)

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> grain.DatasetIterator:
        left = self._dataset[self._position :]
        # No threads: OpenCV and the workers keep the cores busy, and grain's default
        # would hold 500 batches in memory.
        read = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        batches = left.to_iter_dataset(read)
        workers = min(self._workers, len(left))
        if workers:
            if not absl.flags.FLAGS.is_parsed():
                # grain reads an absl flag, which fails in programs without absl.
                absl.flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(
                num_workers=workers, per_worker_buffer_size=_READY
            )
            batches = batches.mp_prefetch(options, worker_init_fn=_start_worker)
        return iter(batches)


def _own(batch: Any) -> Any:
    """A copy out of the workers' shared memory, which must not outlive them."""
    if isinstance(batch, dict):
        return {name: _own(part) for name, part in batch.items()}
    return np.array(batch)


def _close_all(running: list[grain.DatasetIterator], workers: int) -> None:
    if not running:
        return
    while running:
        running.pop().close()
    # An iterator that is at its end is in a cycle of references, and holds what its
    # workers shared: not to be left to the end of the process, which complains.
    if workers:
        gc.collect()


class _HostBatches(grain.MapDataset):
    """Batch i: this host's rows of the positions i B ... (i + 1) B - 1 of its streams.

    Taking rows after the augmentation keeps its generator on global positions.
    """

    def __init__(
        self,
        parents: dict[str, grain.MapDataset],
        streams: dict[str, Stream],
        rows: RowsOf,
        count: int,
    ):
        super().__init__(tuple(parents.values()))
        self._parts = {
            name: (parent, streams[name].batch_size, rows(streams[name].batch_size))
            for name, parent in parents.items()
        }
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        batch = {
            name: _stack([parent[index * size + int(row)] for row in rows])
            for name, (parent, size, rows) in self._parts.items()
        }
        return batch[""] if list(batch) == [""] else batch


class _Padded(grain.MapDataset):
    """The last example repeated up to a length, and `valid` in every example."""

    def __init__(self, parent: grain.MapDataset, length: int):
        super().__init__(parent)
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        last = len(self._parent) - 1
        example: Any = self._parent[min(index, last)]
        return {**example, "valid": np.bool_(index <= last)}


def _stack(examples: list[Example]) -> dict[str, np.ndarray]:
    return {
        field: np.stack([example[field] for example in examples])
        for field in examples[0]
    }


def _sizes(stream: Stream) -> dict[str, int]:
    return {"examples": len(stream.source), "batch_size": stream.batch_size}


def _require_examples(name: str, stream: Stream) -> None:
    if not len(stream.source):
        raise InputError("no examples", where=name or "dataset", expected="one or more")


@contextmanager
def _children_deaf() -> Iterator[None]:
    """Processes that start within never hear Ctrl-C or SIGTERM, from their first moment
    on: they inherit what their parent blocks.

    Both reach every process of a job. The parent is to save and then end its workers; a
    dead one would be an error in the middle of that.
    """
    # It starts with the first worker, and when it does it lifts the block.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(index: int, count: int) -> None:
    """Set a worker up: one OpenCV thread, ends with its parent."""
    # The workers are the parallelism; threads of OpenCV would fight over their cores.
    cv2.setNumThreads(1)
    end_with_parent()
