# SPDX-License-Identifier: Apache-2.0
"""Examples -> finished ArrayRecord shards, in worker processes, resumable.

A build is a list of jobs, one shard each. A worker writes its shard aside, renames it
when whole, then leaves a note (`.json`) with the counts and the gaps: a build that was
interrupted at any moment finds the finished shards by their notes and goes on with
the rest. What is wrong with one item is a gap; the build goes on, unless strict.
"""

import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2z_jax import console
from i2z_jax.errors import InputError

# Shards to have at least, unless they would get fewer examples than this each.
BUSY, LEAST_EXAMPLES = 16, 16

# One item -> its examples, and a Gap for each one that is missing. Called in workers,
# so it and the items are picklable. An InputError is the gap of the whole item.
Encoder = Callable[[Any], Iterable["dict[str, Any] | Gap"]]


@dataclass(frozen=True)
class Gap:
    """Something that is missing or unusable, in one line."""

    message: str


@dataclass(frozen=True)
class Job:
    """One shard: its split, the items it is made of in order, and how many examples
    to expect of one item, for the progress bar."""

    split: str
    items: tuple[Any, ...]
    per_item: int = 1

    @property
    def size(self) -> int:
        """Examples and gaps to expect."""
        return len(self.items) * self.per_item


@dataclass(frozen=True)
class Shard:
    """A finished shard. `examples` counts them for each item of its job."""

    path: Path
    split: str
    examples: tuple[int, ...]
    gaps: tuple[str, ...]


def into_jobs(
    split: str, items: Sequence[Any], per_shard: int, per_item: int = 1
) -> list[Job]:
    """Consecutive items, evenly: shards that differ by one item at most.

    No shard has more than `per_shard` items, and where there are enough examples
    there are `BUSY` shards, so that a small build has work for many processes too.
    """
    if not items:
        return []
    enough = min(BUSY, len(items) * per_item // LEAST_EXAMPLES, len(items))
    count = max(-(-len(items) // per_shard), enough)
    edges = [len(items) * i // count for i in range(count + 1)]
    return [
        Job(split, tuple(items[a:b]), per_item) for a, b in itertools.pairwise(edges)
    ]


def write_shards(
    jobs: Sequence[Job],
    encode: Encoder,
    features: Any,
    folder: Path,
    *,
    workers: int,
    strict: bool,
    what: str,
) -> list[Shard]:
    """Write every job's shard into `folder`; those already there are kept.

    Args:
        jobs: the shards to write.
        encode: items to examples, see `Encoder`.
        features: the TFDS features that serialise an example.
        folder: where shards and notes go. Emptied first when it belongs to a build of
            other items or options.
        workers: processes; with 1, the work is done in this one.
        strict: raise the first gap instead of counting it.
        what: said in front of the progress bar.

    Raises:
        InputError: a gap, when strict; or a worker died.
    """
    _claim(folder, jobs, encode)
    paths = [folder / f"{number:06d}.array_record" for number in range(len(jobs))]
    tasks = [
        (job, path, encode, features, strict)
        for job, path in zip(jobs, paths, strict=True)
        if not _note(path).exists()
    ]
    total = sum(job.size for job in jobs)
    with console.bar() as bar:
        kept = total - sum(task[0].size for task in tasks)
        remark = f"{kept} kept from an interrupted build" if kept else ""
        task_id = bar.add_task(what, total=total, completed=kept, remark=remark)
        if workers == 1:
            for task in tasks:
                _write_shard(*task, on_outcome=lambda: bar.advance(task_id))
        else:
            _in_processes(
                tasks, workers, lambda n: bar.update(task_id, completed=kept + n)
            )
    return [_read_note(path, job) for path, job in zip(paths, jobs, strict=True)]


def _claim(folder: Path, jobs: Sequence[Job], encode: Encoder) -> None:
    """Make the folder ours: what another plan left in it is removed."""
    plan = hashlib.sha256(repr((_identity(encode), jobs)).encode()).hexdigest()
    mark = folder / "plan"
    if not mark.exists() or mark.read_text() != plan:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.write_text(plan)


def _identity(encode: Any) -> Any:
    """A name and options that are the same in another process."""
    if isinstance(encode, functools.partial):
        return _identity(encode.func), encode.args, sorted(encode.keywords.items())
    return encode.__module__, encode.__qualname__


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _read_note(path: Path, job: Job) -> Shard:
    note = json.loads(_note(path).read_text())
    return Shard(path, job.split, tuple(note["examples"]), tuple(note["gaps"]))


def _write_shard(
    job: Job,
    path: Path,
    encode: Encoder,
    features: Any,
    strict: bool,
    *,
    on_outcome: Callable[[], None],
) -> None:
    from array_record.python import array_record_module
    from tensorflow_datasets.core import example_serializer

    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    aside = path.with_suffix(".part")
    # One record a group: any record is read without decoding its neighbours.
    writer = array_record_module.ArrayRecordWriter(str(aside), "group_size:1")
    examples, gaps = [0] * len(job.items), []
    try:
        for place, item in enumerate(job.items):
            for outcome in _outcomes(encode, item):
                if not isinstance(outcome, Gap):
                    record = features.encode_example(outcome)
                    writer.write(serializer.serialize_example(record))
                    examples[place] += 1
                elif strict:
                    raise InputError(outcome.message)
                else:
                    gaps.append(outcome.message)
                on_outcome()
    finally:
        writer.close()
    os.replace(aside, path)
    note = _note(path).with_suffix(".note")
    note.write_text(json.dumps({"examples": examples, "gaps": gaps}))
    os.replace(note, _note(path))


def _outcomes(encode: Encoder, item: Any) -> Iterator["dict[str, Any] | Gap"]:
    try:
        yield from encode(item)
    except InputError as error:
        yield Gap(str(error))


# A worker's side: a counter that the progress bar reads, and a wish to stop.
_shared: dict[str, Any] = {}


def _start_worker(counter: Any, stop: Any) -> None:
    # Ctrl-C is for the parent, which stops us at the next example.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _shared.update(counter=counter, stop=stop)


def _work(task: tuple[Any, ...]) -> None:
    def count() -> None:
        with _shared["counter"].get_lock():
            _shared["counter"].value += 1
        if _shared["stop"].is_set():
            raise InterruptedError("the build was stopped")

    _write_shard(*task, on_outcome=count)


def _in_processes(
    tasks: Sequence[tuple[Any, ...]], workers: int, show: Callable[[int], None]
) -> None:
    # Spawned, not forked: the parent may hold threads (jax, a test's pool).
    context = multiprocessing.get_context("spawn")
    counter, stop = context.Value("q", 0), context.Event()
    with ProcessPoolExecutor(
        min(workers, max(len(tasks), 1)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(counter, stop),
    ) as pool:
        pending = {pool.submit(_work, task) for task in tasks}
        try:
            while pending:
                done, pending = wait(pending, 0.5, FIRST_COMPLETED)
                show(counter.value)
                for future in done:
                    future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process died, out of memory perhaps",
                fix="the same command goes on where it stopped; try fewer --workers",
            ) from error
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
