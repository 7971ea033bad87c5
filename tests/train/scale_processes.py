# SPDX-License-Identifier: Apache-2.0
"""Starting a program on simulated devices: alone, or as a cluster."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from launch import local_cluster
from tests.xla import CHEAP, simulated

ROOT = Path(__file__).parents[2]
PROGRAM = str(Path(__file__).with_name("scale_program.py"))
ENVIRONMENT = {"XLA_FLAGS": CHEAP, "PYTHONPATH": str(ROOT)}
PATIENCE = 400


def start(*arguments, processes, devices, program=PROGRAM):
    with patch.dict(os.environ, ENVIRONMENT):
        return local_cluster.start(
            [program, *map(str, arguments)],
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
    subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)],
        env={**simulated(devices), "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=PATIENCE,
    )
