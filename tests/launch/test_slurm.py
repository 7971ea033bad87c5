# SPDX-License-Identifier: Apache-2.0
"""What `launch/slurm.sbatch` asks of SLURM; srun and scontrol are stand-ins."""

import subprocess

import pytest

from tests.launch.programs import CHECKOUT, environment, program

# Takes its own options away, and runs the command once.
SRUN = """
while [[ $1 == --* ]]; do echo "$1" >> srun; shift; done
exec "$@"
"""


@pytest.fixture
def job(tmp_path):
    """Run the script as a job in `tmp_path`; the command is `i2z`, a bash script."""
    program(tmp_path, "srun", SRUN)
    program(tmp_path, "scontrol", 'echo "$@" > scontrol')

    def run(i2z: str, *words: str, **variables: str):
        command = [CHECKOUT / "launch/slurm.sbatch", *words]
        slurm = {
            "I2Z": str(program(tmp_path, "i2z", i2z)),
            "SLURM_JOB_ID": "77",
            "SLURM_CPUS_PER_TASK": "12",
            "SLURM_SUBMIT_DIR": str(tmp_path),
        }
        return subprocess.run(
            ["bash", *command],
            env=environment(tmp_path) | slurm | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def requeued(folder) -> bool:
    asked = folder / "scontrol"
    return asked.exists() and asked.read_text() == "requeue 77\n"


def test_tasks_have_the_cores_of_the_job(job, tmp_path):
    assert job('echo "$@"', "track", "a b.mp4").stdout == "track a b.mp4\n"
    options = (tmp_path / "srun").read_text().split()
    assert set(options) == {"--kill-on-bad-exit=1", "--cpus-per-task=12"}


@pytest.mark.parametrize("words", [("--workdir", "run 1"), ("--workdir=run 1",)])
def test_a_run_that_saved_and_left_goes_back_into_the_queue(job, tmp_path, words):
    saves = "mkdir -p 'run 1'; touch 'run 1/stopped'"
    assert job(saves, "train", "regress", *words, "--data", "d").returncode == 0
    assert requeued(tmp_path)


def test_one_that_was_told_to_stop_before_its_first_step_does_too(job, tmp_path):
    assert job("exit 143", "train", "dam", "--workdir", "run").returncode == 0
    assert requeued(tmp_path)


def test_a_run_that_was_not_told_to_stop_has_ended(job, tmp_path):
    assert job("mkdir -p run/dam", "train", "--workdir", "run").returncode == 0
    assert not (tmp_path / "scontrol").exists()


def test_one_that_was_stopped_once_ends_in_its_turn(job, tmp_path):
    words = ("train", "dam", "--workdir", "run")
    job("mkdir run; touch run/stopped", *words)
    (tmp_path / "scontrol").unlink()
    assert job("rm run/stopped", *words).returncode == 0
    assert not (tmp_path / "scontrol").exists()


def test_a_failure_is_the_jobs_and_is_not_tried_again(job, tmp_path):
    assert job("exit 3", "train", "dam", "--workdir", "run").returncode == 3
    assert not (tmp_path / "scontrol").exists()


def test_what_has_no_workdir_runs_once(job, tmp_path):
    assert job("true", "evaluate", "capture").returncode == 0
    assert not (tmp_path / "scontrol").exists()


def test_a_run_that_never_ends_is_given_up(job, tmp_path):
    words = ("train", "dam", "--workdir", "run")
    stops = "mkdir -p run; touch run/stopped"
    assert job(stops, *words, SLURM_RESTART_COUNT="19").returncode == 0
    assert requeued(tmp_path)
    (tmp_path / "scontrol").unlink()
    last = job(stops, *words, SLURM_RESTART_COUNT="20")
    assert last.returncode == 1
    assert "run has not ended after 20 restarts" in last.stderr
    assert not requeued(tmp_path)
