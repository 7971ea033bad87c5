# SPDX-License-Identifier: Apache-2.0
"""Tables on screens of any width."""

import pytest
from rich.console import Console

from i2z_jax import console
from i2z_jax.evaluate.tables import Column, Report, show

COLUMNS = [Column("who", "who"), *(Column(c, f"error\n{c}") for c in "abcdefghijkl")]


def lines(capsys, names: list[str]) -> list[str]:
    rows = [{"who": name, **dict.fromkeys("abcdefghijkl", 1.5)} for name in names]
    show(Report("evaluate video", {}, rows), COLUMNS)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_nothing_is_wider_than_the_screen(monkeypatch, capsys, width):
    screen = Console(force_terminal=True, color_system=None, width=width)
    monkeypatch.setattr(console, "out", screen)
    said = lines(capsys, [f"{n}/system" for n in range(9)])
    assert max(map(len, said)) <= width
    assert any(line.startswith("  error a ") for line in said) == (width < 160)
    figures = [word for line in said for word in line.split() if word == "1.500"]
    assert len(figures) == 9 * 12
    assert all(" ".join(said).count(f"{n}/system") == 1 for n in range(9))


def test_a_pipe_is_as_wide_as_the_table(capsys):
    said = lines(capsys, ["before", "after"])
    assert max(map(len, said)) > 100
    assert sum("before" in line for line in said) == 1


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["/w/runs/a/system", "/w/runs/b/system"], ["a/system", "b/system"]),
        (["runs/a/system", "x/system", "oracle"], ["runs/a/system", "x/system"]),
        (["/w/runs/a/system"], ["a/system"]),
        (["/w/a/system", "b/system"], ["/w/a/system", "b/system"]),
    ],
)
def test_paths_begin_where_they_differ(capsys, given, shown):
    said = lines(capsys, given)
    assert [line.split()[0] for line in said if "/" in line] == shown
