# SPDX-License-Identifier: Apache-2.0
"""When a pod of `launch/jobset.yaml` counts as done: its shell, with a stand-in i2z."""

import re
import signal
import subprocess
import textwrap

import pytest

from tests.launch.programs import CHECKOUT, environment, program
from tests.processes import until

STOPPED = "mkdir -p $SHARE/runs/regress; touch $SHARE/runs/regress/stopped"
SAVES = f"saved() {{ sleep 0.3; {STOPPED}; exit 0; }}\ntrap saved TERM"
# It does not end by itself.
STEPS = "touch $SHARE/started\nwhile true; do sleep 0.05; done"


@pytest.fixture
def pod(tmp_path):
    """Start the container's shell; `i2z` is a bash script, /share is `tmp_path`."""

    def start(i2z: str) -> subprocess.Popen:
        program(tmp_path, "i2z", i2z)
        text = (CHECKOUT / "launch/jobset.yaml").read_text()
        (script,) = re.findall(r"args:\n +- \|\n(.*?)\n +env:", text, re.DOTALL)
        script = textwrap.dedent(script).replace("/share", str(tmp_path))
        return subprocess.Popen(
            ["bash", "-c", script],
            env=environment(tmp_path) | {"SHARE": str(tmp_path)},
        )

    return start


def preempted(pod: subprocess.Popen, share) -> int:
    """Its status after SIGTERM, which Kubernetes sends to the shell alone."""
    until((share / "started").exists, pod, within=30)
    pod.send_signal(signal.SIGTERM)
    return pod.wait(30)


def test_a_run_that_was_not_told_to_stop_is_done(pod):
    assert pod("true").wait(30) == 0


@pytest.mark.parametrize("end", ["exit 1", "kill -KILL $$"])
def test_a_failure_is_one(pod, end):
    assert pod(end).wait(30) != 0


def test_a_preempted_pod_waits_for_the_save_and_is_started_again(pod, tmp_path):
    assert preempted(pod(f"{SAVES}\n{STEPS}"), tmp_path) != 0
    assert (tmp_path / "runs/regress/stopped").exists()


def test_a_pod_preempted_while_it_ends_is_done(pod, tmp_path):
    ends = f"{SAVES.replace(STOPPED, 'true')}\n{STEPS}"
    assert preempted(pod(ends), tmp_path) == 0


def test_a_pod_that_fails_while_it_saves_has_failed(pod, tmp_path):
    fails = f"{SAVES.replace(STOPPED, 'true').replace('exit 0', 'exit 1')}\n{STEPS}"
    assert preempted(pod(fails), tmp_path) != 0
