# SPDX-License-Identifier: Apache-2.0
"""Shards: the same records whoever writes them, and nothing done twice."""

import contextlib
import functools
import multiprocessing
import os
import resource
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from i2z_jax.data.build_options import BuildOptions
from i2z_jax.data.finish import work_folder
from i2z_jax.data.shards import Gap, into_jobs, write_shards
from i2z_jax.errors import InputError
from tests.processes import is_running

FEATURES = tfds.features.FeaturesDict(
    {"number": tfds.features.Scalar(np.int64), "text": tfds.features.Text()}
)


def encode(item, *, log=None, stop=None):
    if log is not None:
        with open(log, "a") as file:
            file.write(f"{item}\n")
    if stop is not None and item == 20 and stop.exists():
        os._exit(9)
    if item % 7 == 3:
        raise InputError("an unlucky number", where=str(item))
    if item % 5 == 0:
        yield Gap(f"half of {item}")
    yield {"number": item, "text": f"item {item}"}


def write(
    folder, encoder, *, workers=1, strict=False, items=tuple(range(40)), **options
):
    jobs = into_jobs("train", items, 6)
    options = {"features": {"": FEATURES}, "what": "items", **options}
    return write_shards(
        jobs, encoder, folder=folder, workers=workers, strict=strict, **options
    )


def stored(shards, config="", features=FEATURES):
    values = []
    for shard in shards:
        reader = array_record_module.ArrayRecordReader(str(shard.files[config]))
        values += [features.deserialize_example_np(r) for r in reader.read_all()]
        reader.close()
    return values


def test_jobs_are_even_and_in_order():
    jobs = into_jobs("train", range(40), 6)
    assert [i for job in jobs for i in job.items] == list(range(40))
    assert {len(job.items) for job in jobs} <= {5, 6}
    assert into_jobs("train", [], 6) == []


def test_processes_write_what_one_process_writes(tmp_path):
    alone = write(tmp_path / "a", encode)
    together = write(tmp_path / "b", encode, workers=2)
    assert stored(alone) == stored(together)
    assert [s.records for s in alone] == [s.records for s in together]
    digests = [shard.digest for shard in together]
    assert digests == [shard.digest for shard in alone]
    assert len(set(digests)) == len(digests)
    gaps = [gap for shard in together for gap in shard.gaps]
    assert sum("unlucky" in gap for gap in gaps) == 6
    assert sum("half of" in gap for gap in gaps) == 7
    assert sum(sum(shard.records) for shard in together) == 34


def test_a_shard_of_two_configs_is_two_files_with_the_same_rows(tmp_path):
    parts = {
        name: tfds.features.FeaturesDict({name: FEATURES[name]}) for name in FEATURES
    }

    def rows():
        shards = write(tmp_path / "parts", encode, features=parts)
        return [stored(shards, name, parts[name]) for name in ("number", "text")]

    numbers, texts = rows()
    together = stored(write(tmp_path / "whole", encode))
    assert [{**a, **b} for a, b in zip(numbers, texts, strict=True)] == together
    # The note lies beside the first file; the second one is missed, too.
    (tmp_path / "parts" / "text" / "000002.array_record").unlink()
    assert rows() == [numbers, texts]


def test_a_killed_build_goes_on(tmp_path):
    stop, log = tmp_path / "stop", tmp_path / "log"
    encoder = functools.partial(encode, log=log, stop=stop)
    stop.touch()
    killed = multiprocessing.get_context("spawn").Process(
        target=write, args=(tmp_path / "shards", encoder)
    )
    killed.start()
    killed.join(120)
    assert killed.exitcode == 9
    before = log.read_text().split()
    stop.unlink()
    log.unlink()
    shards = write(tmp_path / "shards", encoder)
    after = log.read_text().split()
    assert stored(shards) == stored(write(tmp_path / "whole", encode))
    # Three whole shards were kept; the one that was being written starts over.
    kept = set(before) - set(after)
    assert kept == {str(i) for i in range(len(kept))}
    assert len(kept) == 17


def wait_for_ever(item, *, log):
    with log.open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)
    yield {"number": item}


def test_workers_of_a_killed_build_go_too(tmp_path):
    encoder = functools.partial(wait_for_ever, log=tmp_path / "log")
    killed = multiprocessing.get_context("spawn").Process(
        target=write, args=(tmp_path / "shards", encoder), kwargs={"workers": 2}
    )
    killed.start()
    until(lambda: len(processes(tmp_path / "log")) == 2)
    killed.kill()
    killed.join()
    until(lambda: not any(map(is_running, processes(tmp_path / "log"))))


def processes(log) -> set[int]:
    return set(map(int, log.read_text().split())) if log.exists() else set()


def until(done) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_another_plan_starts_over(tmp_path):
    write(tmp_path, encode, items=tuple(range(20)))
    shards = write(tmp_path, encode, items=tuple(range(100, 140)))
    numbers = [i for i in range(100, 140) if i % 7 != 3]
    assert [int(record["number"]) for record in stored(shards)] == numbers


def test_a_shard_is_kept_as_long_as_its_files_are_as_they_were(tmp_path):
    log = tmp_path / "log"
    jobs = into_jobs("train", range(40), 6)

    def redone():
        log.write_text("")
        encoder = functools.partial(encode, log=log)
        write(
            tmp_path / "shards", encoder, sources=lambda item: [tmp_path / f"{item}.in"]
        )
        return [int(item) for item in log.read_text().split()]

    def of_the_shard_with(item):
        (job,) = [job for job in jobs if item in job.items]
        return list(job.items)

    (tmp_path / "12.in").write_text("old")
    assert redone() == list(range(40))
    assert redone() == []
    (tmp_path / "12.in").write_text("new one")
    assert redone() == of_the_shard_with(12)
    (tmp_path / "30.in").touch()
    assert redone() == of_the_shard_with(30)
    os.utime(tmp_path / "30.in", (1, 1))
    assert redone() == of_the_shard_with(30)
    (tmp_path / "12.in").unlink()
    assert redone() == of_the_shard_with(12)


def test_gaps_that_were_tolerated_are_not_kept_by_a_strict_build(tmp_path):
    write(tmp_path, encode)
    with pytest.raises(InputError, match="half of"):
        write(tmp_path, encode, strict=True)


@pytest.mark.parametrize("lost", ["all", "end", "note"])
def test_what_a_power_cut_took_from_a_shard_is_written_again(tmp_path, lost):
    """A renamed file whose pages never reached the disk is empty, or too short."""
    whole = stored(write(tmp_path, encode))
    path = tmp_path / ("000002.json" if lost == "note" else "000002.array_record")
    path.write_bytes(path.read_bytes()[:100] if lost == "end" else b"")
    assert stored(write(tmp_path, encode)) == whole


@pytest.fixture
def built(tmp_path):
    """A dataset that was built before; `build(number)` builds another over it."""

    def build(number, *, stop=False):
        with work_folder(tmp_path, "name", BuildOptions(overwrite=True)) as work:
            (work / "shard").touch()
            (work / "name" / "1.0.0").mkdir(parents=True)
            (work / "name" / "1.0.0" / str(number)).touch()
            if stop:
                raise KeyboardInterrupt
            (work / "name" / "dataset.json").write_text(str(number))

    build(1)
    (tmp_path / "name" / "notes.txt").touch()
    return build


def test_a_dataset_is_replaced_when_the_new_one_is_whole(tmp_path, built):
    folder = tmp_path / "name"
    with contextlib.suppress(KeyboardInterrupt):
        built(2, stop=True)
    for number in (1, 2):
        assert (folder / "dataset.json").read_text() == str(number)
        assert [path.name for path in (folder / "1.0.0").iterdir()] == [str(number)]
        assert (folder / "notes.txt").exists()  # somebody's own
        # The interrupted build's shards are there for the next call.
        assert (tmp_path / ".name.unfinished" / "shard").exists() == (number == 1)
        built(2)


def test_a_dataset_is_not_replaced_unasked(tmp_path, built):
    with (
        pytest.raises(InputError, match="already built"),
        work_folder(tmp_path, "name", BuildOptions()),
    ):
        pass


@pytest.mark.parametrize("workers", [1, 2])
def test_strict_raises_the_first_gap(tmp_path, workers):
    with pytest.raises(InputError, match="half of"):
        write(tmp_path, encode, strict=True, workers=workers)


def random_text(item):
    yield {"number": item, "text": np.random.default_rng(item).bytes(999).hex()}


def test_a_full_disk_is_one_clear_line(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write \(.*File too large"):
            write(tmp_path, random_text)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert stored(write(tmp_path, random_text))[-1]["number"] == 39


def die(item):
    os._exit(9)


def test_a_worker_that_dies_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="a worker process died"):
        write(tmp_path, functools.partial(die), workers=2)
