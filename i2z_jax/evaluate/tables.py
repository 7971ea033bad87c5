# SPDX-License-Identifier: Apache-2.0
"""Results as a table on screen and as JSON."""

import math
from collections.abc import Sequence
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
    """Print the table; columns for which no row has a value are left out."""
    columns = [
        column
        for column in columns
        if any(row.get(column.name) is not None for row in report.rows)
    ]
    table = Table(
        title=f"i2z {report.command}", title_justify="left", box=box.SIMPLE_HEAD
    )
    for column in columns:
        words = any(isinstance(row.get(column.name), str) for row in report.rows)
        justify = "left" if words else "right"
        table.add_column(column.heading, justify=justify, no_wrap=True)
    for row in report.rows:
        table.add_row(*(cell(row.get(c.name), c.decimals) for c in columns))
    console.show_table(table)
    for note in report.notes:
        console.out.print(note)


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
