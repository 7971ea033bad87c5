# SPDX-License-Identifier: Apache-2.0
"""The folder of one run: who holds it, its configuration, its metrics.

workdir/config.json     what the run was started with
workdir/metrics.jsonl   one line a logged step
workdir/checkpoints/    written by `checkpoint.py`
workdir/.lock           held while a process trains here
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from i2z_jax.errors import InputError
from i2z_jax.files import write_aside
from i2z_jax.records import to_json


@contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Keep a second run out of `workdir`. The lock goes with the process, even killed.

    Raises:
        InputError: another process trains here, or the folder cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / ".lock").open("w")
    except OSError as error:
        raise InputError(
            f"cannot write here ({error.strerror})", where=workdir
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                "another run is training here",
                where=workdir,
                fix="wait for it, or choose another --workdir",
            ) from error
        yield


def remember_config(workdir: Path, config: Any) -> None:
    """Write the configuration of a new run; compare that of a resumed one.

    Raises:
        InputError: the workdir belongs to a run with another configuration; the
            fields that differ are named.
    """
    path = workdir / "config.json"
    content = json.dumps(to_json(config), indent=2) + "\n"
    if not path.exists():
        with write_aside(path) as aside:
            aside.write_text(content)
        return
    # Both through JSON, where a tuple is a list.
    before, now = _flat(json.loads(path.read_text())), _flat(json.loads(content))
    differs = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if differs:
        raise InputError(
            f"this run was started differently: {'; '.join(differs)}",
            where=path,
            fix="repeat its options to go on with it, or choose another --workdir",
        )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{name}.{key}".lstrip("."))
    return flat


class MetricsLog:
    """`metrics.jsonl`: one line a logged step, the same whether or not resumed.

    Args:
        workdir: the run's folder.
        step: the step the run goes on from. Lines after it were written by a process
            that was killed before it could save, and will be written again.
    """

    def __init__(self, workdir: Path, step: int):
        self.path = workdir / "metrics.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        with write_aside(self.path, overwrite=True) as aside:
            aside.write_text("".join(f"{line}\n" for line in kept))

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Append one line; it is on its way to the disk when this returns."""
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        # A killed process may leave half a last line: it has no newline.
        *whole, _ = self.path.read_text().split("\n")
        return whole
