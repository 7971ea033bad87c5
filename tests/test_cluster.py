# SPDX-License-Identifier: Apache-2.0
"""When processes meet, and what a cluster on one machine does about failure."""

import time

import pytest

from i2z_jax.cluster import is_one_of_several
from launch import local_cluster
from tests.processes import finish, finish_all, start, start_cluster


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        # A shell of `salloc -n 16`: an allocation, and no step.
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "16"}, False),
        ({"SLURM_NTASKS": "16", "SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_NTASKS": "16", "SLURM_STEP_NUM_TASKS": "16"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "host-0,host-1"}, True),
        ({"JAX_COORDINATOR_ADDRESS": "node:1234"}, True),
    ],
)
def test_processes_meet_only_where_there_are_others(environment, several):
    assert is_one_of_several(environment) is several


def test_a_failure_ends_the_others_and_is_the_answer():
    # Process 1 fails; process 0 would wait for it for an hour.
    code = (
        "import os, sys, time\n"
        "if os.environ['JAX_PROCESS_ID'] == '1': sys.exit(3)\n"
        "time.sleep(3600)"
    )
    start = time.perf_counter()
    cluster = local_cluster.start(["-c", code], processes=2, devices=1)
    assert local_cluster.wait(cluster) == 3
    assert cluster[0].wait(10) != 0
    assert time.perf_counter() - start < 30


DISAGREE = """
import sys
from pathlib import Path
from i2z_jax import cluster
from i2z_jax.errors import InputError
from i2z_jax.train.run import RunConfig
from i2z_jax.train.workdir import hold, remember_config
import jax
cluster.join()
host, workdir = jax.process_index(), Path(sys.argv[1])
with hold(workdir):
    try:
        remember_config(workdir, RunConfig(batch_size=16 if host else 8))
    except InputError as error:
        print(error)
    remember_config(workdir, RunConfig())
try:
    with hold(workdir / "config.json" / "no folder"):
        pass
except InputError as error:
    print(error)
"""


def test_processes_that_disagree_all_say_so(tmp_path):
    for out, _ in finish_all(start_cluster("-c", DISAGREE, tmp_path, devices=1)):
        disagreement, unwritable = out.splitlines()[-2:]
        assert "batch_size was 8, is 16" in disagreement
        assert "processes 0 and 1" in disagreement
        assert "cannot write here" in unwritable
    assert (tmp_path / "config.json").exists()


# The path of `i2z`: one process of a command meets what is not bad input.
FAIL = """
import sys
from dataclasses import dataclass
from types import ModuleType
from i2z_jax import commands
@dataclass(frozen=True)
class Config:
    pass
def run(config):
    import jax
    from i2z_jax.sharding import from_every_process
    from_every_process("here")
    if jax.process_index():
        raise RuntimeError("of one process")
    from_every_process("the other is not")
failing = sys.modules["i2z_jax.commands.fail"] = ModuleType("fail")
vars(failing).update(Config=Config, run=run)
commands.COMMANDS["fail"] = ""
commands.main(["fail"])
"""


def test_an_error_in_one_process_ends_it_at_once():
    other, failing = start_cluster("-c", FAIL, devices=1)
    with other:
        try:
            # JAX's own way out waits for the other one, 300 s.
            _, error = finish(failing, status=1, within=150)
        finally:
            other.kill()
    assert "Traceback" in error
    assert "RuntimeError: of one process" in error


def test_a_command_line_for_a_cluster():
    words = ["--processes", "2", "--devices", "2", "--", "inspect", "/nowhere"]
    _, error = finish(start("-m", "launch.local_cluster", *words), status=1)
    assert "i2z inspect: /nowhere: no such folder" in error
