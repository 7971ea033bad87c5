# SPDX-License-Identifier: Apache-2.0
"""Records -> finished ArrayRecord shards, in worker processes, resumable.

A build is a list of jobs, one shard each. A worker writes its shard aside, renames it
when whole, then leaves a note (`.json`) with the counts, the gaps, and the key of what
it was made of: a build that was interrupted at any moment finds the finished shards
by their notes and goes on with the rest, and with those whose sources have changed
since. What is wrong with one item is a gap; the build goes on, unless strict.

A shard is one file for each config that it is of, with the same rows: what every
reader wants in one, textures, which are most of the bytes, in another.
"""

import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import i2z_jax
from i2z_jax import console
from i2z_jax.data.workers import end_with_parent
from i2z_jax.errors import InputError
from i2z_jax.files import versions

# Shards to have at least, unless they would get fewer records than this each.
BUSY, LEAST_RECORDS = 16, 16

# One item -> its records, and a Gap for each one that is missing. Called in workers,
# so it and the items are picklable. An InputError is the gap of the whole item.
Encoder = Callable[[Any], Iterable["dict[str, Any] | Gap"]]


@dataclass(frozen=True)
class Gap:
    """Something that is missing or unusable, in one line."""

    message: str


@dataclass(frozen=True)
class Job:
    """One shard: its split, the items it is made of in order, and how many records
    to expect of one item, for the progress bar."""

    split: str
    items: tuple[Any, ...]
    per_item: int = 1

    @property
    def size(self) -> int:
        """Records and gaps to expect."""
        return len(self.items) * self.per_item


@dataclass(frozen=True)
class Shard:
    """A finished shard. `records` counts them for each item of its job; `digest` is of
    all that they hold; `files` are by config."""

    files: Mapping[str, Path]
    split: str
    records: tuple[int, ...]
    gaps: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Task:
    """A shard to write: all that a worker process is given."""

    job: Job
    files: Mapping[str, Path]
    encode: Encoder
    features: Mapping[str, Any]
    strict: bool
    key: str

    @property
    def note(self) -> Path:
        """Beside the first of the files; it is written last."""
        return next(iter(self.files.values())).with_suffix(".json")

    @property
    def done(self) -> bool:
        """Whether the shard is there, of the same sources, and allowed its gaps."""
        try:
            note = json.loads(self.note.read_text())
            sizes = [path.stat().st_size for path in self.files.values()]
        except (OSError, ValueError):  # a power cut leaves empty files
            return False
        # A power cut can lose the end of a file that has its name already.
        whole = (note.get("key"), note.get("bytes")) == (self.key, sizes)
        return whole and not (self.strict and note["gaps"])

    @property
    def shard(self) -> Shard:
        """What was written."""
        note = json.loads(self.note.read_text())
        counts, gaps = tuple(note["records"]), tuple(note["gaps"])
        return Shard(self.files, self.job.split, counts, gaps, note["digest"])


def into_jobs(
    split: str, items: Sequence[Any], per_shard: int, per_item: int = 1
) -> list[Job]:
    """Consecutive items, evenly: shards that differ by one item at most.

    No shard has more than `per_shard` items, and where there are enough records
    there are `BUSY` shards, so that a small build has work for many processes too.
    """
    if not items:
        return []
    enough = min(BUSY, len(items) * per_item // LEAST_RECORDS, len(items))
    count = max(-(-len(items) // per_shard), enough)
    edges = [len(items) * i // count for i in range(count + 1)]
    return [
        Job(split, tuple(items[a:b]), per_item) for a, b in itertools.pairwise(edges)
    ]


def write_shards(
    jobs: Sequence[Job],
    encode: Encoder,
    features: Mapping[str, Any],
    folder: Path,
    *,
    workers: int,
    strict: bool,
    what: str,
    sources: Callable[[Any], Iterable[Path | None]] = lambda item: (),
) -> list[Shard]:
    """Write every job's shard into `folder`; those already there are kept.

    Args:
        jobs: the shards to write.
        encode: items to records, see `Encoder`.
        features: config ("" if there is one only) -> the TFDS features of a record that
            are stored there.
        folder: where shards and notes go, in one folder a config.
        workers: processes; with 1, the work is done in this one.
        strict: raise the first gap instead of counting it.
        what: said in front of the progress bar.
        sources: item -> the files that decide its records, there or not. A shard is
            kept as long as its items, its options and these files are as they were.

    Raises:
        InputError: a gap, when strict; or a worker died.
    """
    for config in features:
        (folder / config).mkdir(parents=True, exist_ok=True)
    tasks = [
        Task(
            job,
            {name: folder / name / f"{number:06d}.array_record" for name in features},
            encode,
            features,
            strict,
            _key(encode, job, versions(*itertools.chain(*map(sources, job.items)))),
        )
        for number, job in enumerate(jobs)
    ]
    missing = [task for task in tasks if not task.done]
    total = sum(job.size for job in jobs)
    with console.bar() as bar:
        kept = total - sum(task.job.size for task in missing)
        remark = f"{kept} kept from an interrupted build" if kept else ""
        task_id = bar.add_task(what, total=total, completed=kept, remark=remark)
        if workers == 1:
            for task in missing:
                write(task, lambda: bar.advance(task_id))
        else:
            _in_processes(
                missing, workers, lambda n: bar.update(task_id, completed=kept + n)
            )
    return [task.shard for task in tasks]


def _key(encode: Encoder, job: Job, found: list[Any]) -> str:
    made_of = repr((i2z_jax.__version__, _identity(encode), job, found))
    return hashlib.sha256(made_of.encode()).hexdigest()


def _identity(encode: Any) -> Any:
    """A name and options that are the same in another process."""
    if isinstance(encode, functools.partial):
        return _identity(encode.func), encode.args, sorted(encode.keywords.items())
    return encode.__module__, encode.__qualname__


@contextmanager
def _writer(path: Path, features: Any) -> Iterator[Callable[[dict[str, Any]], dict]]:
    """A function that writes its fields of a record and returns them, encoded.

    Raises:
        InputError: the disk is full, of which ArrayRecord says a RuntimeError.
    """
    from array_record.python import array_record_module
    from tensorflow_datasets.core import example_serializer

    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    # One record a group: any record is read without decoding its neighbours. Pictures
    # are compressed already; to compress them once more costs a read half its time.
    options = "group_size:1,uncompressed"
    writer = array_record_module.ArrayRecordWriter(str(path), options)

    def put(record: dict[str, Any]) -> dict[str, Any]:
        encoded = features.encode_example({name: record[name] for name in features})
        writer.write(serializer.serialize_example(encoded))
        return encoded

    try:
        yield put
        writer.close()
    except RuntimeError as error:
        reason, _, _ = str(error).partition(";")
        raise InputError(f"cannot write ({reason})", where=path) from error
    finally:
        with suppress(RuntimeError):
            writer.close()


def write(task: Task, count: Callable[[], None]) -> None:
    """Write one shard, then its note. `count` is called after each record or gap."""
    # The note of a shard that is out of date must not outlive it.
    task.note.unlink(missing_ok=True)
    asides = {name: path.with_suffix(".part") for name, path in task.files.items()}
    records, gaps, digest = [0] * len(task.job.items), [], hashlib.sha256()
    with ExitStack() as stack:
        writers = [
            stack.enter_context(_writer(asides[name], features))
            for name, features in task.features.items()
        ]
        for place, item in enumerate(task.job.items):
            for outcome in _outcomes(task.encode, item):
                if not isinstance(outcome, Gap):
                    for writer in writers:
                        encoded = writer(outcome)
                        # Not of what is written, whose fields have no fixed order.
                        for name in sorted(encoded):
                            digest.update(_bytes(encoded[name]))
                    records[place] += 1
                elif task.strict:
                    raise InputError(outcome.message)
                else:
                    gaps.append(outcome.message)
                count()
    found = {"key": task.key, "bytes": [p.stat().st_size for p in asides.values()]}
    for name, path in task.files.items():
        os.replace(asides[name], path)
    note = task.note.with_suffix(".note")
    found |= {"records": records, "gaps": gaps, "digest": digest.hexdigest()}
    note.write_text(json.dumps(found))
    os.replace(note, task.note)


def _bytes(value: Any) -> bytes:
    """Of a field, as TFDS encodes it."""
    if isinstance(value, bytes):
        return value
    array = np.asarray(value)
    is_text = array.dtype == object
    return repr(array.tolist()).encode() if is_text else array.tobytes()


def _outcomes(encode: Encoder, item: Any) -> Iterator["dict[str, Any] | Gap"]:
    try:
        yield from encode(item)
    except InputError as error:
        yield Gap(str(error))


# A worker's side: a counter that the progress bar reads, and a wish to stop. Global,
# since a process gets them when it starts and not with a task.
_shared: dict[str, Any] = {}


def _start_worker(counter: Any, stop: Any) -> None:
    # Ctrl-C is for the parent, which stops us at the next record.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A killed one could not; and what goes on in its place writes the same files.
    end_with_parent()
    _shared.update(counter=counter, stop=stop)


def _work(task: Task) -> None:
    def count() -> None:
        with _shared["counter"].get_lock():
            _shared["counter"].value += 1
        if _shared["stop"].is_set():
            raise InterruptedError("the build was stopped")

    write(task, count)


def _in_processes(
    tasks: Sequence[Task], workers: int, show: Callable[[int], None]
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
