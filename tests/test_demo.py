# SPDX-License-Identifier: Apache-2.0
"""`i2z demo`: what is run, what is not run again, and what the summary says."""

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from i2z_jax.commands import demo, demo_runner
from i2z_jax.commands.demo import Config
from i2z_jax.commands.demo_stages import (
    ABLATION,
    STAGES,
    Figure,
    Stage,
    side_by_side,
)
from i2z_jax.errors import InputError
from i2z_jax.report import demo_page
from tests.command_line import i2z, parse

TWO = (
    Stage("first", "one --out {out}/a", "a"),
    Stage("second", "two {out}/a --json {out}/b.json", "b.json",
          (Figure("error_mm", "b.json", ("rows", 1, "mm")),)),
)  # fmt: skip


FIVE = tuple(Stage(name, name, name, group="g") for name in "abcde")


@pytest.fixture
def machine(monkeypatch):
    """Stands in for the processes: leaves what a command would, or fails."""
    ran, fail = [], set()

    def run_command(command, **options):
        words = shlex.split(command)
        ran.append(words[0])
        if words[0] in fail:
            return 1, 100
        rows = [{"mm": 3.0}, {"mm": 2.5}]
        with open(words[-1], "w") as file:
            json.dump({"rows": rows}, file)
        return 0, 100

    monkeypatch.setattr(demo_runner, "run_command", run_command)
    # tests/report/test_demo_page.py has the page itself.

    def page(out, summary, steps):
        return "\n".join(step.command for step in steps)

    monkeypatch.setattr(demo_page, "demo_page", page)
    monkeypatch.setattr(demo, "STAGES", TWO)
    return SimpleNamespace(ran=ran, fail=fail)


def test_stages_run_once_and_the_summary_has_their_figures(machine, tmp_path, capsys):
    out = tmp_path / "with space"
    out.mkdir()
    demo.run(Config(out))
    assert machine.ran == ["one", "two"]
    assert f"$ i2z one --out '{out}'/a" in capsys.readouterr().err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["error_mm"] == 2.5
    assert set(summary["minutes"]) == {"first", "second"}
    page = (out / "report.html").read_text()
    assert f"i2z two '{out}'/a --json" in page
    # Of a finished folder nothing is run again, and the page is made anew.
    (out / "report.html").unlink()
    capsys.readouterr()
    demo.run(Config(out))
    assert machine.ran == ["one", "two"]
    assert (out / "report.html").read_text() == page
    assert str(out / "report.html") in capsys.readouterr().out
    (out / "b.json").unlink()
    demo.run(Config(out))
    assert machine.ran == ["one", "two", "two"]


def test_the_screen_says_what_was_reached_and_where_to_look(capsys, tmp_path):
    figures = {
        "vertex_mm_before": 2.0, "vertex_mm_after": 1.5, "pose_px_before": 5.0,
        "pose_px_after": 4.0, "vertex_mm_oracle": 1.0, "gap_closed": 0.5,
        "minutes": {"adapt": 1.0}, "minutes_total": 9.5, "peak_memory_mib": 1536,
    }  # fmt: skip
    demo.show(figures, tmp_path)
    said = capsys.readouterr().out
    for words in ("2.00 -> 1.50 mm", "5.00 -> 4.00 px", "50 %", "9.5 min, 1.5 GiB",
                  str(tmp_path / "report.html")):  # fmt: skip
        assert words in said
    assert len(said.splitlines()) < 14


def test_a_failed_stage_ends_the_demo_and_is_where_it_goes_on(machine, tmp_path):
    machine.fail.add("two")
    with pytest.raises(InputError, match="stage 'second' did not finish"):
        demo.run(Config(tmp_path))
    assert not (tmp_path / "summary.json").exists()
    machine.fail.clear()
    demo.run(Config(tmp_path))
    assert machine.ran == ["one", "two", "two"]


def test_a_group_runs_at_the_same_time_and_fails_alone(tmp_path, monkeypatch):
    together = threading.Barrier(2, timeout=60)
    shares = {}

    def run_command(command, *, log, half, **_):
        together.wait()  # broken unless the other one is running
        name, out = shlex.split(command)
        shares[name] = (log, half)
        if name == "two":
            return 3, 40
        (tmp_path / out).touch()
        return 0, 60

    monkeypatch.setattr(demo_runner, "run_command", run_command)
    pair = (Stage("first", "one a", "a", group="g"),
            Stage("second", "two b", "b", group="g"))  # fmt: skip
    monkeypatch.setattr(demo, "STAGES", pair)
    log = tmp_path / "logs" / "second.log"
    with pytest.raises(InputError, match=r"second\.log: stage 'second' did not finish"):
        demo.run(Config(tmp_path))
    assert shares == {"one": (None, 0), "two": (log, 1)}
    diary = demo_runner.Diary(tmp_path)
    assert diary.is_done(pair[0])
    assert not diary.is_done(pair[1])
    # Side by side: the longer of the two, and the memory of both.
    diary.stages["first"]["seconds"], diary.stages["second"]["seconds"] = 60.0, 90.0
    totals = diary.totals(pair)
    assert (totals["minutes_total"], totals["peak_memory_mib"]) == (1.5, 100)
    # A third one comes after the shorter.
    diary.stages["third"] = {"seconds": 45.0, "peak_mib": 50}
    totals = diary.totals((*pair, pair[0]._replace(name="third")))
    assert (totals["minutes_total"], totals["peak_memory_mib"]) == (1.75, 110)


def test_more_than_two_take_turns_on_the_halves_of_the_cores(tmp_path, monkeypatch):
    lock, busy, seen = threading.Lock(), set(), []

    def run_command(command, *, half, **_):
        with lock:
            assert half not in busy  # no two on the same cores
            busy.add(half)
            seen.append(half)
        time.sleep(0.05)
        with lock:
            busy.remove(half)
        (tmp_path / command).touch()
        return 0, 1

    monkeypatch.setattr(demo_runner, "run_command", run_command)
    monkeypatch.setattr(demo_page, "demo_page", lambda *_: "")
    monkeypatch.setattr(demo, "STAGES", FIVE)
    demo.run(Config(tmp_path))
    assert len(seen) == 5
    assert set(seen) == {0, 1}


def test_after_a_failure_nothing_of_the_group_is_begun(tmp_path, monkeypatch):
    together, begun = threading.Barrier(2, timeout=60), []

    def run_command(command, **_):
        begun.append(command)
        together.wait()  # both fail with the other three still waiting
        return 130, 1

    monkeypatch.setattr(demo_runner, "run_command", run_command)
    monkeypatch.setattr(demo, "STAGES", FIVE)
    with pytest.raises(InputError, match="did not finish"):
        demo.run(Config(tmp_path))
    assert sorted(begun) == ["a", "b"]


def test_sigterm_ends_the_stages_that_run(tmp_path, monkeypatch):
    two_run = threading.Barrier(3, timeout=60)

    def run_command(_, *, running, **__):
        process = subprocess.Popen(["sleep", "100"])
        running.add(process.pid)
        two_run.wait()
        return process.wait(), 1

    def terminate():
        two_run.wait()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(demo_runner, "run_command", run_command)
    monkeypatch.setattr(demo, "STAGES", FIVE)
    threading.Thread(target=terminate).start()
    start = time.monotonic()
    assert i2z("demo", "--out", tmp_path) == 143
    assert time.monotonic() - start < 50
    stages = json.loads((tmp_path / "demo.json").read_text())
    assert not any(record["done"] for record in stages.values())
    assert len(stages) == 2  # the others were not begun


def test_a_process_beside_another_writes_to_its_file(tmp_path):
    log = tmp_path / "logs" / "doctor.log"
    cores = os.sched_getaffinity(0)
    code, peak = demo_runner.run_command("doctor", running=set(), log=log, half=1)
    assert code == 0
    assert peak > 10
    assert "jax" in log.read_text()
    assert os.sched_getaffinity(0) == cores
    assert (
        demo_runner.run_command("doctor --no-such-option", running=set(), log=log)[0]
        != 0
    )
    assert "no-such-option" in log.read_text()


def test_stages_of_a_group_do_not_read_what_another_leaves():
    for group in side_by_side((*STAGES, *ABLATION)):
        for stage in group:
            others = {s.leaves.split("/")[0] for s in group if s is not stage}
            reads = {word.split("/")[1] for word in stage.command.split()
                     if word.startswith("{out}/")}  # fmt: skip
            assert not (reads - {stage.leaves.split("/")[0], "data"}) & others


def test_what_is_there_but_was_not_finished_does_not_count(machine, tmp_path):
    demo.run(Config(tmp_path))
    diary = json.loads((tmp_path / "demo.json").read_text())
    diary["first"]["done"] = False  # killed in it: its folder may look whole
    (tmp_path / "demo.json").write_text(json.dumps(diary))
    demo.run(Config(tmp_path))
    assert machine.ran == ["one", "two", "one"]


def test_a_folder_of_something_else_or_of_other_commands_is_refused(
    machine, tmp_path, monkeypatch
):
    (tmp_path / "photo.png").touch()
    with pytest.raises(InputError, match="is no demo"):
        demo.run(Config(tmp_path))
    assert not machine.ran
    out = tmp_path / "demo"
    demo.run(Config(out))
    newer = TWO[0]._replace(command="one --more --out {out}/a")
    monkeypatch.setattr(demo, "STAGES", (newer, TWO[1]))
    with pytest.raises(InputError, match="begun with another command"):
        demo.run(Config(out))


def test_a_folder_that_was_moved_goes_on(machine, tmp_path, monkeypatch):
    machine.fail.add("two")
    with pytest.raises(InputError, match="did not finish"):
        demo.run(Config(tmp_path / "here"))
    machine.fail.clear()
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    demo.run(Config(Path("there")))
    assert machine.ran == ["one", "two", "two"]
    # The first version recorded commands with the folder's name.
    diary = json.loads(Path("there/demo.json").read_text())
    diary["first"]["command"] = "one --out there/a"
    Path("there/demo.json").write_text(json.dumps(diary))
    demo.run(Config(Path("there")))
    assert machine.ran == ["one", "two", "two"]


@pytest.mark.parametrize("stage", [*STAGES, *ABLATION], ids=lambda s: s.name)
def test_every_stage_is_a_command_with_options_it_has(stage):
    parse(shlex.split(stage.command.format(out="demo_out")))


def test_stages_have_names_of_their_own():
    names = [stage.name for stage in (*STAGES, *ABLATION)]
    assert len(set(names)) == len(names)
