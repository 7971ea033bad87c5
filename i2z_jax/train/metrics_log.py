# SPDX-License-Identifier: Apache-2.0
"""`metrics.jsonl` of a run's folder."""

import json
from pathlib import Path
from typing import Any

from i2z_jax.files import json_text, write_aside


class MetricsLog:
    """`metrics.jsonl`: one line a logged step, the same whether or not resumed.

    Args:
        workdir: the run's folder.
        step: the step the run goes on from. Lines after it were written by a process
            that was killed before it could save, and will be written again.
        evaluated: whether the evaluation of that step is done; else what it wrote will
            be written again, too.
    """

    def __init__(self, workdir: Path, step: int, *, evaluated: bool = True):
        self.path = workdir / "metrics.jsonl"

        def counts(line: str) -> bool:
            found = json.loads(line)
            again = not evaluated and any(name.startswith("eval/") for name in found)
            return found["step"] < step + (not again)

        kept = [line for line in self._lines() if counts(line)]
        with write_aside(self.path, overwrite=True) as aside:
            aside.write_text("".join(f"{line}\n" for line in kept))

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Append one line; it is on its way to the disk when this returns."""
        with self.path.open("a") as file:
            file.write(json_text({"step": step, **metrics}) + "\n")

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        # A killed process may leave half a last line: it has no newline.
        *whole, _ = self.path.read_text().split("\n")
        return whole
