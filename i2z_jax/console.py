# SPDX-License-Identifier: Apache-2.0
"""What a person sees on screen: progress with an ETA, and tables."""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

Item = TypeVar("Item")


class _Remarks(Console):
    def on_broken_pipe(self) -> None:
        """Who watched has gone: the work goes on, and what else is said is lost."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


# Text is shown as it is: a path may have [brackets] or :colons: in it.
_as_it_is = {"highlight": False, "markup": False, "emoji": False}
_console = partial(Console, **_as_it_is)

# Results go to stdout; progress and remarks to stderr, so that pipes stay clean.
out = _console(soft_wrap=True)
err = _Remarks(stderr=True, soft_wrap=True, **_as_it_is)


def show_table(table: Table) -> None:
    """Print a table of results as wide as it is, whatever the screen's width: a figure
    that was cut off is worse than a broken line."""
    _console(file=out.file, width=_width(table)).print(table)


def fits(table: Table) -> bool:
    """Whether the screen is wide enough; a file or a pipe always is."""
    return not out.is_terminal or _width(table) <= out.width


def _width(table: Table) -> int:
    roomy = out.options.update(width=1000)
    return out.measure(table, options=roomy).maximum


def bar() -> Progress:
    """A progress bar with count, elapsed time and ETA (a context manager)."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}", markup=False),
        console=err,
    )


def progress(
    items: Iterable[Item], what: str, *, total: int | None = None
) -> Iterator[Item]:
    """Iterate with a progress bar. `total` defaults to `len(items)`, if it has one."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # pyrefly: ignore
    with bar() as progress_bar:
        task = progress_bar.add_task(what, total=total, remark="")
        for item in items:
            yield item
            progress_bar.advance(task)
