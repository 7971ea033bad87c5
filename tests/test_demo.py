# SPDX-License-Identifier: Apache-2.0
"""`i2z demo`: what is run, what is not run again, and what the summary says."""

import json
import shlex
import subprocess
from types import SimpleNamespace

import pytest
import tyro

from i2z_jax import commands
from i2z_jax.commands import demo
from i2z_jax.commands.demo import Config
from i2z_jax.commands.demo_stages import ABLATION, STAGES, Figure, Stage
from i2z_jax.errors import InputError
from i2z_jax.report import demo_page

TWO = (
    Stage("first", "one --out {out}/a", "a"),
    Stage("second", "two {out}/a --json {out}/b.json", "b.json",
          (Figure("error_mm", "b.json", ("rows", 1, "mm")),)),
)  # fmt: skip


@pytest.fixture
def machine(monkeypatch):
    """Stands in for the processes: leaves what a command would, or fails."""
    ran, fail = [], set()

    def run(command, **options):
        words = command[3:]
        ran.append(words[0])
        if words[0] in fail:
            return SimpleNamespace(returncode=1)
        rows = [{"mm": 3.0}, {"mm": 2.5}]
        with open(words[-1], "w") as file:
            json.dump({"rows": rows}, file)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
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


def test_the_gap_needs_an_oracle():
    summary = {"vertex_mm_before": 2.0, "vertex_mm_after": 1.5}
    assert demo.derived(summary) == {}
    assert demo.derived(summary | {"vertex_mm_oracle": 1.0}) == {"gap_closed": 0.5}


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


@pytest.mark.parametrize("stage", [*STAGES, *ABLATION], ids=lambda s: s.name)
def test_every_stage_is_a_command_with_options_it_has(stage):
    words = shlex.split(stage.command.format(out="demo_out"))
    name = commands._command_name(words)
    assert name is not None
    module = commands.importlib.import_module(commands.COMMANDS[name].module)
    given = words[len(name.split()) :]
    defaults = getattr(module, "defaults", None)
    tyro.cli(module.Config, args=given, default=defaults and defaults(given))


def test_stages_have_names_of_their_own():
    names = [stage.name for stage in (*STAGES, *ABLATION)]
    assert len(set(names)) == len(names)
