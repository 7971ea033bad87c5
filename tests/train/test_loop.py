# SPDX-License-Identifier: Apache-2.0
"""The loop: what is saved, what is repeated, and how it ends, on a toy objective."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("toy_run.py")
STEPS = 60


def start(workdir, *options):
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(workdir), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])},
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def metrics(workdir):
    lines = [
        json.loads(x) for x in (workdir / "metrics.jsonl").read_text().split("\n") if x
    ]
    return [{k: v for k, v in line.items() if k != "speed"} for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    return finish(start(workdir)), metrics(workdir)


@pytest.mark.parametrize(
    ("how", "times"),
    [(signal.SIGTERM, 3), (signal.SIGKILL, 7)],
    ids=["SIGTERM", "SIGKILL"],
)
def test_an_interrupted_run_repeats_the_uninterrupted_one(
    tmp_path, uninterrupted, how, times
):
    pause = random.Random(how)
    kills = 0
    while kills < times:
        (tmp_path / "drawn").unlink(missing_ok=True)
        process = start(tmp_path, "--slow")
        while process.poll() is None and not (tmp_path / "drawn").exists():
            time.sleep(0.02)
        time.sleep(pause.uniform(0.05, 0.6))
        if process.poll() is not None:
            break
        process.send_signal(how)
        process.communicate(timeout=60)
        if how == signal.SIGTERM:
            assert process.returncode == 0
        kills += 1
    assert kills >= 3  # the run was not over before it could be interrupted
    final, logged = finish(start(tmp_path)), metrics(tmp_path)
    assert final == uninterrupted[0]
    assert logged == uninterrupted[1]


def test_an_endless_nan_stops_with_the_step_range(tmp_path):
    process = start(tmp_path, "--nan-from", "17")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "not finite in steps 18 to 30" in err


def test_a_passing_nan_is_skipped_and_counted(tmp_path):
    process = start(tmp_path, "--nan-from", "17", "--nan-steps", "3")
    final = finish(process)
    assert final["skipped"] == 3
    assert np.isfinite(final["params"]).all()
