# SPDX-License-Identifier: Apache-2.0
"""What a person sees on screen: progress with an ETA, and tables."""

from collections.abc import Iterable, Iterator
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

# Results go to stdout; progress and remarks to stderr, so that pipes stay clean.
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def show_table(table: Table) -> None:
    """Print a table of results as wide as it is, whatever the screen's width: a figure
    that was cut off is worse than a broken line."""
    roomy = out.options.update(width=1000)
    width = out.measure(table, options=roomy).maximum
    Console(file=out.file, width=width, highlight=False).print(table)


def bar() -> Progress:
    """A progress bar with count, elapsed time and ETA (a context manager)."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}"),
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
