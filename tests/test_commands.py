# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it, and what a process of its own shows."""

import os
import re
import runpy
import shlex
import signal
import subprocess
import sys

import pytest
import tyro

from i2z_jax import commands
from i2z_jax.commands import COMMANDS, doctor
from i2z_jax.files import write_aside
from tests.command_line import i2z
from tests.processes import I2Z, finish, start


def test_help_lists_every_command_without_starting_jax():
    program = (
        "import sys; from i2z_jax.commands import main\n"
        "try: main(['--help'])\n"
        "finally: assert 'jax' not in sys.modules"
    )
    out, _ = finish(start("-c", program))
    for name, summary in COMMANDS.items():
        assert name in out
        assert summary in out


@pytest.mark.parametrize("where", ["option", "folder"])
def test_a_python_of_ascii_says_what_to_set(tmp_path, where):
    """Its libraries would end in a traceback, or in a crash."""
    folder = tmp_path / "\u00e9"
    folder.mkdir()
    program = "from i2z_jax.commands import main; main()"
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, "data", "check",
         str(folder) if where == "option" else "data"],
        capture_output=True, text=True, timeout=300,
        cwd=folder if where == "folder" else None,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **ascii_only},
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "PYTHONUTF8=1" in line


@pytest.mark.filterwarnings("ignore:get_parser")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_described_and_no_group_by_another_option(command):
    parser = tyro.extras.get_parser(commands._module(command).Config)
    texts = {
        # Without the parentheses at the end: what is its default, or why there is none.
        option.dest: " ".join(str(option.help).rpartition("(")[0].split())
        for option in parser._actions
        if option.dest != "help" and not isinstance(option.choices, dict)
    }
    assert all(texts.values()), texts
    for group in parser._action_groups:
        assert " ".join(str(group.description).split()) not in texts.values()


@pytest.mark.parametrize("command", COMMANDS)
def test_usage_says_what_a_command_takes_and_not_of_which_type(command, capsys):
    assert i2z(*command.split(), "--help") == 0
    usage, _, _ = capsys.readouterr().out.partition("\n\n")
    assert usage.startswith(f"usage: i2z {command}")
    # `--out PATH` is no riddle.
    positional = re.sub(r"--\S+ \S+", "", usage)
    assert not re.findall(r"\b(?:STR|PATH|INT|FLOAT)\b", positional), usage


def test_unknown_command(capsys):
    assert i2z("fly") == 2
    assert "no command 'fly'" in capsys.readouterr().err


def test_doctor_and_its_launch_module_say_the_same(monkeypatch, tmp_path):
    # Not into the tests' own, where others keep programs meanwhile.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    ours, _ = finish(start(*I2Z, "doctor"))
    launched, _ = finish(start("-m", "launch.doctor"))
    assert ours == launched
    assert "backend" in ours
    assert "jax" in ours


@pytest.mark.parametrize(
    "name",
    [
        "adapt",
        "convert",
        "data",
        "demo",
        "evaluate",
        "inspect",
        "synth",
        "track",
        "train",
    ],
)
def test_a_launch_module_is_the_command_of_its_name(name, monkeypatch, capsys):
    command = next(c for c in COMMANDS if c.split()[0] == name)
    monkeypatch.setattr(sys, "argv", ["launch", *command.split()[1:], "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"launch.{name}", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: i2z {command} ")


def test_a_wish_for_float64_is_not_half_heard(monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    program = (
        "from i2z_jax.commands import main\n"
        "try: main(['inspect', 'tiny'])\n"
        "finally: import jax.numpy as jnp; print(jnp.zeros(3).dtype)"
    )
    out, _ = finish(start("-c", program))
    assert out.endswith("float32\n")


def test_sigterm_ends_a_command_like_ctrl_c(monkeypatch, tmp_path, capsys):
    def run(_):
        with write_aside(tmp_path / "whole") as aside:
            aside.write_text("half")
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(doctor, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    assert i2z("doctor") == 143
    assert capsys.readouterr().err == "i2z doctor: terminated\n"
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("words", [["--help"], ["inspect", "--help"]], ids=str)
def test_a_reader_that_has_gone_is_no_traceback(words):
    """`| true`: nothing reads what is printed, at once or when the program ends."""
    for unbuffered in ("", "1"):
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        process = start("-m", "i2z_jax", *words, environment=environment)
        process.stdout.close()
        assert finish(process, status=1) == ("", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("buffering", ["", "-u "])
@pytest.mark.parametrize("words", ["--help", "inspect --help", "doctor"])
def test_output_that_cannot_be_written_is_one_line(words, buffering, monkeypatch):
    """A full disk, and an output that is closed from the beginning."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    i2z = f"{shlex.quote(sys.executable)} {buffering}-m i2z_jax {words}"
    options = {"shell": True, "capture_output": True, "timeout": 300}
    full = subprocess.run(f"{i2z} > /dev/full", **options)
    assert full.returncode == 1
    assert len(full.stderr.splitlines()) == 1
    assert b"No space left" in full.stderr
    closed = subprocess.run(f"{i2z} >&-", **options)
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_debug_shows_where_a_file_was_missed(monkeypatch, capsys):
    def run(config):
        raise FileNotFoundError(2, "No such file", "missing.txt")

    monkeypatch.setattr(doctor, "run", run)
    for words, traced in ((["doctor"], False), (["doctor", "--debug"], True)):
        assert i2z(*words) == 1
        said = capsys.readouterr().err
        assert "missing.txt" in said
        assert ("Traceback" in said) == traced
