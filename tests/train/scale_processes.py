# SPDX-License-Identifier: Apache-2.0
"""Starting `scale_program.py` on simulated devices: alone, or as a cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch import local_cluster

ROOT = Path(__file__).parents[2]
PROGRAM = str(Path(__file__).with_name("scale_program.py"))
# Programs that run a few steps: quick to compile matters more than quick to run.
CHEAP = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
PATIENCE = 400


@pytest.fixture(autouse=True, scope="module")
def environment():
    before = dict(os.environ)
    os.environ |= {
        "XLA_FLAGS": CHEAP,
        "PYTHONPATH": str(ROOT),
    }
    yield
    os.environ.clear()
    os.environ.update(before)


def start(*arguments, processes, devices):
    return local_cluster.start(
        [PROGRAM, *map(str, arguments)],
        processes=processes,
        devices=devices,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(cluster):
    ends = [process.communicate(timeout=PATIENCE) for process in cluster]
    for process, (_, error) in zip(cluster, ends, strict=True):
        assert process.returncode == 0, error[-3000:]


def alone(*arguments, devices):
    """A process that is no cluster."""
    flags = f"{CHEAP} --xla_force_host_platform_device_count={devices}"
    subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        check=True,
        timeout=PATIENCE,
    )
