# SPDX-License-Identifier: Apache-2.0
"""What the four `i2z evaluate` commands share: how they run, and what they leave."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2z_jax.errors import require_at_least


@dataclass(frozen=True)
class EvaluateOptions:
    """Neither devices nor batch size change a result."""

    # Examples at a time, over all devices.
    batch_size: int = 8
    # Processes that decode pictures; 0 decodes in this one.
    workers: int = 0
    # Also write the results to this file.
    json: Path | None = None
    # Also write pictures into this folder; files of the same names are replaced.
    pictures: Path | None = None


def start(options: EvaluateOptions) -> Any:
    """The runner on every device of this process.

    Raises:
        InputError: a batch size or number of workers that is none; results cannot be
            written where they are to go, which is known before the work.
    """
    from i2z_jax.evaluate.predict import Runner
    from i2z_jax.files import make_place, make_writable

    require_at_least(options, {"batch_size": 1, "workers": 0})
    if options.pictures is not None:
        make_writable(options.pictures)
    if options.json is not None:
        make_place(options.json)
    return Runner.on_all_devices(options.batch_size, options.workers)


def finish(
    options: EvaluateOptions,
    report: Any,
    columns: Sequence[Any],
    draw: Callable[[Path], Sequence[Path]],
) -> None:
    """Table and JSON, then the pictures.

    Args:
        draw: folder -> the pictures that it has written there.
    """
    from i2z_jax import console
    from i2z_jax.evaluate.tables import show, write_json

    show(report, columns)
    if options.json is not None:
        write_json(report, options.json)
        console.err.print(f"results: {options.json}")
    saved = [] if options.pictures is None else draw(options.pictures)
    for path in saved:
        console.err.print(f"picture: {path}")
