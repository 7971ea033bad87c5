# SPDX-License-Identifier: Apache-2.0
"""The same batches on any number of hosts and workers, from any point on."""

import json
import signal

import numpy as np
import pytest

from i2z_jax.data.batches import endless, one_pass
from i2z_jax.errors import InputError
from tests.data.numbers import SEED, stream
from tests.processes import finish, is_running, start, until


def take(batches, count):
    with batches:
        return [next(batches) for _ in range(count)]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for field in a:
            np.testing.assert_array_equal(a[field], b[field])


def test_every_epoch_has_every_example_in_another_order():
    batches = take(endless(stream(), seed=SEED), 15)
    numbers = np.concatenate([batch["number"] for batch in batches])
    epochs = numbers.reshape(6, 10)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(10), (6, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 6
    draws = np.concatenate([batch["draw"] for batch in batches])
    assert len(set(draws)) == 60, "one example twice is augmented in two ways"


def test_seeds_differ_and_repeat():
    one, again, other = (take(endless(stream(), seed=s), 3) for s in (1, 1, 2))
    assert_same(one, again)
    assert any((a["number"] != b["number"]).any() for a, b in zip(one, other))  # noqa: B905


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_the_batches_of_one(hosts):
    whole = take(endless(stream(), seed=SEED), 7)
    shares = [
        take(
            endless(
                stream(),
                seed=SEED,
                rows=lambda size, host=host: np.arange(size).reshape(hosts, -1)[host],
            ),
            7,
        )
        for host in range(hosts)
    ]
    joined = [
        {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}
        for parts in zip(*shares, strict=True)
    ]
    assert_same(joined, whole)


def test_workers_change_nothing_and_any_step_can_be_restored():
    expected = take(endless(stream(), seed=SEED), 12)
    with endless(stream(), seed=SEED, workers=2) as running:
        states = []
        for step in range(8):
            states.append(json.dumps(running.get_state()))
            assert_same([next(running)], [expected[step]])
        # Back, with workers that had run ahead already.
        running.set_state(json.loads(states[5]))
        assert_same([next(running) for _ in range(4)], expected[5:9])
    for step, state in enumerate(states):
        restored = endless(stream(), seed=SEED)
        next(restored)  # had begun elsewhere
        restored.set_state(json.loads(state))
        assert_same(take(restored, 4), expected[step : step + 4])


def test_a_state_of_other_data_is_refused():
    state = endless(stream(), seed=SEED).get_state()
    for other in (
        endless(stream(), seed=SEED + 1),
        endless(stream(count=11), seed=SEED),
        endless(stream(batch_size=5), seed=SEED),
    ):
        with pytest.raises(InputError, match="data position"):
            other.set_state(state)


def test_shares_of_a_mixture_are_fixed():
    lab, wild = stream(count=10, batch_size=2), stream(count=7, batch_size=6)
    mixed = take(endless({"lab": lab, "wild": wild}, seed=SEED), 14)
    assert {len(b["lab"]["number"]) for b in mixed} == {2}
    assert {len(b["wild"]["number"]) for b in mixed} == {6}
    # The lab part does not depend on what else is in the mixture.
    alone = take(endless({"lab": lab}, seed=SEED), 14)
    assert_same([b["lab"] for b in mixed], [b["lab"] for b in alone])
    seen = np.concatenate([b["wild"]["number"] for b in mixed])
    np.testing.assert_array_equal(np.bincount(seen), np.full(7, 12))


@pytest.mark.parametrize(
    ("count", "workers"), [(3, 0), (8, 0), (10, 0), (3, 2), (10, 2)]
)
def test_one_pass_has_every_example_once(count, workers):
    batches = list(one_pass(stream(count=count), workers=workers))
    assert len(batches) == -(-count // 4) == len(one_pass(stream(count=count)))
    numbers = np.concatenate([batch["number"] for batch in batches])
    valid = np.concatenate([batch["valid"] for batch in batches])
    assert len(numbers) == 4 * len(batches)
    np.testing.assert_array_equal(numbers[valid], np.arange(count))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_record_says_which(workers):
    batches = one_pass(stream(count=80), workers=workers)
    with batches, pytest.raises(InputError, match="record 66"):
        list(batches)


def test_no_examples_is_an_error():
    with pytest.raises(InputError, match="no examples"):
        endless({"lab": stream(count=0)}, seed=0)


PROGRAM = """
import os, signal, sys, time

if __name__ == "__mp_main__":  # a worker that starts
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)

import numpy as np
from i2z_jax.data.batches import endless
from tests.data.numbers import SEED, stream

if __name__ == "__main__":
    batches = endless(stream(), seed=SEED, workers=2)
    print(next(batches)["number"].tolist(), flush=True)
    import multiprocessing
    print([p.pid for p in multiprocessing.active_children()], flush=True)
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_a_plain_program_needs_no_absl_and_ends_quietly(program):
    out, err = finish(start(program, 0))
    expected = next(endless(stream(), seed=SEED))["number"].tolist()
    assert out.startswith(str(expected))
    assert "Error" not in err
    assert "leaked" not in err


def test_workers_of_a_killed_program_go_too(program):
    process = start(program, 60)
    process.stdout.readline()
    workers = json.loads(process.stdout.readline())
    assert len(workers) == 2
    process.kill()
    finish(process, status=-signal.SIGKILL)
    until(lambda: not any(map(is_running, workers)), within=20)


SHARED_MEMORY = """
import numpy as np
from i2z_jax.data.batches import Stream, one_pass

class Pictures:
    def __len__(self): return 12
    def __getitem__(self, i): return {"image": np.zeros((64, 64, 3), np.uint8)}

if __name__ == "__main__":
    print(sum(1 for _ in one_pass(Stream(Pictures(), 4, None), workers=1)))
"""


def test_no_shared_memory_is_left_to_the_end_of_the_process(tmp_path):
    program = tmp_path / "program.py"  # a file: workers import it
    program.write_text(SHARED_MEMORY)
    assert finish(start(program)) == ("3\n", "")
