# SPDX-License-Identifier: Apache-2.0
"""Results as a table on screen and as JSON."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

from i2z_jax import __version__, console, files
from i2z_jax.dataclass_json import to_json

Row = dict[str, Any]


class Column(NamedTuple):
    """A column: the row's field it shows, its heading with the unit, decimals."""

    name: str
    heading: str
    decimals: int = 3


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Attributes:
        command: such as "evaluate capture".
        settings: all that is needed to repeat it.
        rows: one dictionary a line of the table, figures by name.
        notes: sentences that a reader of the figures must know.
        frames: what was measured on every frame of a video; in the JSON only.
    """

    command: str
    settings: dict[str, Any]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    frames: dict[str, Any] = field(default_factory=dict)


def show(report: Report, columns: Sequence[Column]) -> None:
    """Print the table; columns for which no row has a value are left out. On a screen
    that is too narrow for it, it is turned."""
    columns = [
        column
        for column in columns
        if any(row.get(column.name) is not None for row in report.rows)
    ]
    values = [[row.get(column.name) for row in report.rows] for column in columns]
    words = [any(isinstance(value, str) for value in each) for each in values]
    lines = [
        [cell(value, column.decimals) for value in each]
        for column, each in zip(columns, values, strict=True)
    ]
    lines[0] = _short(lines[0])
    lines = [[c.heading, *each] for c, each in zip(columns, lines, strict=True)]
    title = f"i2z {report.command}"
    table = _table(title, list(zip(*lines, strict=True)), words)
    for part in [table] if console.fits(table) else _turned(title, lines):
        console.show_table(part)
    for note in report.notes:
        console.out.print(note)


def _table(title: str, lines: Sequence[Sequence[str]], words: Sequence[bool]) -> Table:
    """Lines, the first of which is the head; columns of words begin at the left."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading, is_words in zip(lines[0], words, strict=True):
        justify = "left" if is_words else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    for line in lines[1:]:
        table.add_row(*line)
    return table


def _turned(title: str, lines: Sequence[Sequence[str]]) -> Iterator[Table]:
    """A figure in each line, and as many of what is compared side by side as the screen
    has room for."""
    names = [heading.replace("\n", " ") for heading, *_ in lines]
    first, end = 1, len(lines[0])
    while first < end:
        for last in range(end, first, -1):
            some = [
                [name, *each[first:last]]
                for name, each in zip(names, lines, strict=True)
            ]
            table = _table(title, some, [True] + [False] * (last - first))
            if console.fits(table):
                break
        yield table
        first, title = last, ""


def _short(names: list[str]) -> list[str]:
    """Paths without the folders that all of them begin with; the last two stay."""
    paths = [name for name in names if "/" in name]
    try:
        shared = os.path.commonpath([Path(path).parent.parent for path in paths])
    except ValueError:  # there are none, or only some begin at the root
        return names
    return [
        os.path.relpath(name, shared or ".") if name in paths else name
        for name in names
    ]


def cell(value: Any, decimals: int = 3) -> str:
    """A value of the table; "-" where there is none; several with strokes between.

    >>> cell(0.12345), cell(12), cell("mean face"), cell({"a": 0.5, "b": None})
    ('0.123', '12', 'mean face', '0.500 / -')
    """
    if isinstance(value, dict):
        return " / ".join(cell(part, decimals) for part in value.values())
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def write_json(report: Report, path: str | Path) -> None:
    """Write the report; an earlier one is replaced. What is no number is null."""
    content = {
        "command": report.command,
        "i2z_jax": __version__,
        "settings": report.settings,
        "rows": report.rows,
        "notes": report.notes,
        **({"frames": report.frames} if report.frames else {}),
    }
    files.write_json(path, to_json(content))
