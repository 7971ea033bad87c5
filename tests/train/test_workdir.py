# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: whose it is, what it remembers, what it logs."""

import json
import signal
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from i2z_jax.data.records import VERSIONS
from i2z_jax.errors import InputError
from i2z_jax.stopwatch import Stopwatch
from i2z_jax.train.log import RunLog
from i2z_jax.train.metrics_log import MetricsLog
from i2z_jax.train.workdir import hold, remember_config, remember_data
from tests.processes import finish, start


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Run:
    steps: int = 10
    inner: Inner = Inner()


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    program = (
        "import pathlib, time; from i2z_jax.train.workdir import hold\n"
        f"with hold(pathlib.Path({str(tmp_path)!r})):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    other = start("-c", program)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="another run"), hold(tmp_path):
        pass
    other.kill()
    finish(other, status=-signal.SIGKILL)
    with hold(tmp_path):
        pass


def test_resuming_with_other_options_names_them(tmp_path):
    remember_config(tmp_path, Run(steps=3))
    remember_config(tmp_path, Run())  # nothing was saved under the first
    # What a process was killed in is no checkpoint.
    (tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir(parents=True)
    remember_config(tmp_path, Run(steps=4))
    remember_config(tmp_path, Run())
    (tmp_path / "checkpoints" / "5").mkdir()
    remember_config(tmp_path, Run())
    other = replace(Run(), steps=11, inner=Inner(sizes=(1, 3)))
    with pytest.raises(InputError) as error:
        remember_config(tmp_path, other)
    assert "steps was 10, is 11" in str(error.value)
    assert "inner.sizes was [1, 2], is [1, 3]" in str(error.value)
    assert "rate" not in str(error.value)


@dataclass(frozen=True)
class Loop:
    steps: int = 10
    keep: int = 2


@dataclass(frozen=True)
class Options:
    workers: int = 0
    result: str = "last"
    loop: Loop = Loop()


@dataclass(frozen=True)
class Command:
    run: Options = Options()
    dam: Path | None = None
    data: Path | None = None
    workdir: Path | None = None


def test_what_changes_nothing_that_is_learned_may_change(tmp_path):
    (tmp_path / "checkpoints" / "0").mkdir(parents=True)
    remember_config(tmp_path, Command())
    remember_config(tmp_path, Command(Options(4, "best", Loop(keep=9))))
    with pytest.raises(InputError, match=r"run\.loop\.steps was 10, is 11"):
        remember_config(tmp_path, Command(Options(4, "best", Loop(steps=11))))


def test_a_run_is_its_files_however_they_are_called(tmp_path, monkeypatch):
    (tmp_path / "run" / "checkpoints" / "0").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    workdir = Path("run")
    remember_config(workdir, Command(dam=Path("dam"), workdir=workdir))
    workdir = workdir.rename("moved").absolute()
    remember_config(workdir, Command(dam=tmp_path / "dam", workdir=workdir))
    with pytest.raises(InputError, match=r"dam was 'dam', is '.*other'"):
        remember_config(workdir, Command(dam=tmp_path / "other", workdir=workdir))


def test_a_run_goes_on_with_its_dataset_wherever_that_is(tmp_path):
    """Not with another one that took its place, of as many records."""
    (tmp_path / "checkpoints" / "0").mkdir(parents=True)
    old, new = tmp_path / "old", tmp_path / "new"

    def go_on(place, capture=None):
        remember_config(tmp_path, Command(data=place))
        remember_data(tmp_path, {"ibug_300w": place, "multiview_capture": capture})

    describe(old, digest="one")
    go_on(old)
    old.rename(new)
    go_on(new)
    describe(old, digest="two")
    with pytest.raises(InputError, match=r"ibug_300w was 'one', is 'two'"):
        go_on(old)
    with pytest.raises(InputError, match=r"no built multiview_capture"):
        go_on(new, capture=old)


def test_a_dataset_without_a_digest_is_refused(tmp_path):
    describe(tmp_path / "old")
    with pytest.raises(InputError, match=r"without a digest.*build it again"):
        remember_data(tmp_path, {"ibug_300w": tmp_path / "old"})


def describe(place, **facts):
    """A dataset without its records."""
    (place / "ibug_300w").mkdir(parents=True)
    content = {"version": VERSIONS["ibug_300w"], "splits": {}, "gaps": [], **facts}
    (place / "ibug_300w" / "dataset.json").write_text(json.dumps(content))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_is_one_line(tmp_path):
    with closing(RunLog(tmp_path, 0, 1, Stopwatch())) as log:
        lines = tmp_path / "metrics.jsonl"
        lines.unlink()
        lines.symlink_to("/dev/full")
        with pytest.raises(InputError, match=r"No space left .*free disk space"):
            log.evaluation(1, {"eval/loss": 1.0}, {})


def test_metrics_after_the_restored_step_are_written_again(tmp_path):
    log = MetricsLog(tmp_path, step=0)
    for step in (1, 2, 3):
        log.write(step, {"loss": 1 / step, "wild": float("nan")})
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')  # killed here
    resumed = MetricsLog(tmp_path, step=2)
    resumed.write(3, {"loss": 9.0})
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[-1]["loss"] == 9.0
    assert lines[0] == {"step": 1, "loss": 1.0, "wild": None}


def test_an_evaluation_that_was_cut_off_is_written_again(tmp_path):
    log = MetricsLog(tmp_path, step=0)
    for step in (1, 2):
        log.write(step, {"loss": 1.0})
        log.write(step, {"eval/loss": 1.0})
    for evaluated, lines in ((True, 4), (False, 3)):
        resumed = MetricsLog(tmp_path, step=2, evaluated=evaluated)
        assert len(resumed.path.read_text().splitlines()) == lines
