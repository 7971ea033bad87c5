# SPDX-License-Identifier: Apache-2.0
"""`i2z demo`: the whole system on a person who does not exist, stage by stage.

Each stage is an `i2z` command (`demo_stages.py`), printed so that it can be run alone.
`demo_runner.py` runs what is not done yet; here is what is read of its results.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from i2z_jax import console
from i2z_jax.commands.demo_runner import Diary, log_file, run_group
from i2z_jax.commands.demo_stages import ABLATION, STAGES, Figure, Stage, side_by_side
from i2z_jax.files import write_json, write_text


@dataclass(frozen=True)
class Config:
    """Capture, train, adapt and track a synthetic person on this machine's CPU.

    Leaves OUT/report.html, which tells what was done and what came of it, and
    OUT/summary.json. Run the same command again to go on after an interruption; of a
    finished folder it writes these two anew.
    """

    # Folder for everything that the stages leave.
    out: Path = Path("demo_out")
    # Also train the four published variants, and print the paper's table.
    ablation: bool = False


def run(config: Config) -> None:
    """Every stage that is not done, then summary and page."""
    stages = STAGES + (ABLATION if config.ablation else ())
    diary = Diary(config.out)
    for group in side_by_side(stages):
        waiting = [s for s in group if not diary.is_done(s)]
        for stage in group:
            title = f"[{stages.index(stage) + 1}/{len(stages)}] {stage.name}"
            if stage not in waiting:
                console.err.print(f"{title}: done before")
                continue
            if stage != waiting[0]:
                title += f", beside it: see {log_file(diary.out, stage)}"
            console.err.print(f"\n{title}\n$ i2z {diary.command(stage)}")
        run_group(waiting, diary)
    show(write_results(stages, diary), config.out)


def write_results(stages: Sequence[Stage], diary: Diary) -> dict[str, Any]:
    """Write OUT/summary.json and OUT/report.html; the summary."""
    from i2z_jax.report.demo_page import Step, demo_page

    out = diary.out
    summary = {f.name: read(f, out) for s in stages for f in s.figures}
    summary |= diary.totals(stages)
    steps = [Step(s.name, f"i2z {diary.command(s)}", diary.seconds(s)) for s in stages]
    write_json(out / "summary.json", summary)
    write_text(out / "report.html", demo_page(out, summary, steps))
    return summary


def read(figure: Figure, out: Path) -> float:
    """A figure, from the file that its stage left."""
    text = (out / figure.file).read_text()
    last = text.splitlines()[-1] if figure.file.endswith(".jsonl") else text
    value = json.loads(last)
    for key in figure.path:
        value = value[key]
    return value


# Of the summary: what it is called on screen, figures before and after, unit.
LINES = (
    ("mesh error in the video", "vertex_mm_before", "vertex_mm_after", "mm"),
    ("head pose error", "pose_px_before", "pose_px_after", "px of 256"),
)


def show(summary: dict[str, Any], out: Path) -> None:
    """What was reached, and where to look."""
    table = Table.grid(padding=(0, 3))
    for name, before, after, unit in LINES:
        if before in summary:
            new = (f"{summary[after]:.2f}", "bold")
            table.add_row(
                name, Text.assemble(f"{summary[before]:.2f} -> ", new, f" {unit}")
            )
    if (oracle := summary.get("vertex_mm_oracle")) is not None:
        table.add_row("  with labels it would be", f"{oracle:.2f} mm")
    if (closed := summary.get("gap_closed")) is not None:
        table.add_row("  share of that gap closed", f"{100 * closed:.0f} %")
    minutes, memory = summary["minutes_total"], summary["peak_memory_mib"] / 1024
    table.add_row("took", f"{minutes:.1f} min, {memory:.1f} GiB at most")
    console.out.print("\nBefore -> after adaptation, on frames not learned from:")
    console.out.print(table)
    console.out.print(f"\nreport   {out / 'report.html'}")
    console.out.print(f"figures  {out / 'summary.json'}")
