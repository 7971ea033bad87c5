# SPDX-License-Identifier: Apache-2.0
"""The loop: what is saved, what is repeated, and how it ends, on a toy objective."""

import gzip
import json
import random
import signal
import time
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from i2z_jax.errors import InputError
from i2z_jax.train import trace
from i2z_jax.train.loop import Hooks, LoopConfig, run_loop
from i2z_jax.train.run import RunConfig
from i2z_jax.train.state import TrainState
from i2z_jax.train.workdir import remember_config
from tests.processes import finish, start, until

STEPS = 60


def begin(workdir, *options):
    return start("-m", "tests.train.toy_run", workdir, *options)


def run(workdir, *options):
    """What a run that ends well says of its result."""
    out, _ = finish(begin(workdir, *options))
    return json.loads(out.splitlines()[-1])


def metrics(workdir):
    lines = [
        json.loads(x) for x in (workdir / "metrics.jsonl").read_text().split("\n") if x
    ]
    return [{k: v for k, v in line.items() if k != "speed"} for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    return run(workdir), metrics(workdir)


@pytest.mark.parametrize(
    ("how", "times"),
    [(signal.SIGTERM, 3), (signal.SIGINT, 3), (signal.SIGKILL, 6)],
    ids=["SIGTERM", "SIGINT", "SIGKILL"],
)
def test_an_interrupted_run_repeats_the_uninterrupted_one(
    tmp_path, uninterrupted, how, times
):
    pause = random.Random(how)
    kills = 0
    while kills < times:
        (tmp_path / "drawn").unlink(missing_ok=True)
        process = begin(tmp_path, "--slow")
        until(lambda p=process: (tmp_path / "drawn").exists() or p.poll() is not None)
        time.sleep(pause.uniform(0.05, 0.6))
        if process.poll() is not None:
            break
        process.send_signal(how)
        _, said = finish(process, status={signal.SIGTERM: 0}.get(how, -how))
        if how != signal.SIGKILL:
            assert "the same command goes on" in said
            assert (tmp_path / "stopped").exists()  # for what started it: it exits 0
        kills += 1
    assert kills >= 3  # the run was not over before it could be interrupted
    final, logged = run(tmp_path), metrics(tmp_path)
    assert final == uninterrupted[0]
    assert logged == uninterrupted[1]
    assert not (tmp_path / "stopped").exists()


def test_killed_while_it_saves(tmp_path, uninterrupted):
    """In its first save, then in the second, ...: each starts from another one."""
    for number in (1, 2, 3, 4, 2):
        finish(begin(tmp_path, "--die-in-save", number), status=-signal.SIGKILL)
    assert run(tmp_path) == uninterrupted[0]
    assert metrics(tmp_path) == uninterrupted[1]


def test_killed_while_it_evaluates(tmp_path, uninterrupted):
    """It has saved before, and the evaluation is done when it goes on."""
    for step in (8, 60):
        dying = tmp_path, "--die-in-evaluation", step
        finish(begin(*dying), status=-signal.SIGKILL)
        _, err = finish(begin(*dying), status=-signal.SIGKILL)
        assert f"going on from step {step}" in err
    final = run(tmp_path)
    # Older checkpoints are removed after a newer one is there: it may not come to it.
    assert set(final.pop("on disk")) >= set(uninterrupted[0]["on disk"])
    assert final.items() < uninterrupted[0].items()
    assert metrics(tmp_path) == uninterrupted[1]


def test_the_best_of_all_evaluations_stays_on_disk(uninterrupted):
    final, logged = uninterrupted
    found = {x["step"]: x["eval/distance"] for x in logged if "eval/distance" in x}
    best = min(found, key=found.__getitem__)
    assert 4 < best < 52  # else it is one of the newest anyway
    assert final["best"][0] == best
    assert abs(final["best"][1][0] - 0.75) == pytest.approx(found[best])
    assert sorted(final["on disk"]) == [best, 56, 60]


def test_a_full_disk_ends_the_run_and_costs_the_interval(tmp_path, uninterrupted):
    finish(begin(tmp_path, "--die-in-save", 3), status=-signal.SIGKILL)
    _, err = finish(begin(tmp_path, "--largest-file", 8000), status=1)
    assert "checkpoint cannot be written" in err
    assert "free disk space" in err
    assert "Traceback" not in err
    assert run(tmp_path) == uninterrupted[0]
    assert metrics(tmp_path) == uninterrupted[1]


def test_a_trace_of_the_steps_that_were_asked_for(tmp_path):
    run(tmp_path, "--profile", 3)
    (trace,) = (tmp_path / "profile").rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    steps = {int(e["args"]["step_num"]) for e in events if e.get("name") == "train"}
    assert steps == {10, 11, 12}


def test_other_processes_write_no_trace_over_the_first_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(trace, "is_first_process", lambda: False)
    with closing(trace.Trace(tmp_path / "profile", 1)) as other:
        for number in range(trace.WARM + 1):
            with other.step(number):
                pass
    assert not (tmp_path / "profile").exists()


def test_what_the_machine_did_is_on_record(tmp_path):
    run(tmp_path)
    found = json.loads((tmp_path / "machine.json").read_text())
    needs = found["needed_bytes_per_device"]
    # 3 + 64² float32; Adam keeps two of each and a counter; a batch is 4 x 3.
    assert needs["parameters"] == 4 * (3 + 64**2)
    assert needs["moments"] == 2 * needs["parameters"] + 4
    assert (needs["frozen"], needs["batch"]) == (0, 4 * 4 * 3)
    assert needs["total"] == sum(v for k, v in needs.items() if k != "total")
    assert found["peak_of"] == "process"
    assert found["peak_bytes"] > needs["total"]
    seconds = found["seconds"]
    parts = sum(v for k, v in seconds.items() if k != "elapsed")
    assert parts == pytest.approx(seconds["elapsed"], abs=1e-3)
    assert {"data", "step", "save", "evaluate", "log", "compile"} < set(seconds)


def test_an_endless_nan_stops_with_the_step_range(tmp_path):
    _, err = finish(begin(tmp_path, "--nan-from", 17), status=1)
    assert "not finite in steps 18 to 30" in err


def test_a_passing_nan_is_skipped_and_counted(tmp_path):
    final = run(tmp_path, "--nan-from", 17, "--nan-steps", 3)
    assert final["skipped"] == 3
    assert np.isfinite(final["params"]).all()


class Zeros:
    """Batches that are all the same."""

    def __next__(self):
        return np.zeros(2, np.float32)

    def get_state(self):
        return {}

    def set_state(self, state):
        pass


def looped(workdir, step, **loop):
    state = TrainState.create({"w": jnp.zeros(3)}, {}, optax.adam(1e-3))
    return run_loop(
        state, {}, step=step, batches=Zeros(), put=jnp.asarray, workdir=workdir,
        config=LoopConfig(**{"steps": 5, **loop}), batch_size=2, hooks=Hooks(),
    )  # fmt: skip


def too_large(state, frozen, batch):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory on 1 bytes.")


def test_a_step_too_large_names_the_remedies_and_they_are_accepted(tmp_path):
    remember_config(tmp_path, RunConfig())
    with pytest.raises(InputError, match=r"out of memory.*--microbatches.*--fsdp"):
        looped(tmp_path, too_large)
    assert not list((tmp_path / "checkpoints").iterdir())
    remember_config(tmp_path, RunConfig(microbatches=2))
