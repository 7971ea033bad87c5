# SPDX-License-Identifier: Apache-2.0
"""The subjects, run one after the other; a table on screen, JSON on disk.

A subject is a function `(options, rates)` that yields rows. What is optional (PyTorch)
or heavy is imported when the subject is.
"""

import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from rich.table import Table

from i2z_jax.console import out, show_table
from i2z_jax.errors import InputError
from i2z_jax.files import write_json
from i2z_jax.presets import PRESETS, Preset


class Subject(NamedTuple):
    """One line of the suite; `batch` are the sizes it runs at if none are given."""

    summary: str
    # `module:function` of this package.
    measure: str
    batch: Mapping[str, tuple[int, ...]] = MappingProxyType({})


ONE = {"tiny": (16,), "paper": (2,)}
SUITE: dict[str, Subject] = {
    "conversion": Subject("VGG-19 .pth to a model folder", "conversion:measure"),
    "forward": Subject("a crop to z and H, and by part", "forward:measure", ONE),
    "regress": Subject("a training step of regression", "regress:measure", ONE),
    "adapt": Subject(
        "an adaptation step, features cached and not",
        "adapt:measure",
        {"tiny": (8,), "paper": (1,)},
    ),
    "decode": Subject("z and view to mesh and texture", "decode:measure", ONE),
    "rasterise": Subject("z-buffer of crops, a photo rendered", "raster:rasterise"),
    "unwrap": Subject("crops to textures with visibility", "raster:unwrapping"),
    "pipeline": Subject("records to batches on the device", "pipeline:measure"),
    "track": Subject("a video, end to end, by stage", "track:measure"),
}


@dataclass(frozen=True)
class Options:
    """Measure on this machine, on the device that JAX uses."""

    # Sizes of the networks.
    preset: Literal["tiny", "paper"] = "tiny"
    # Images of a call; by default each subject's own (`tiny` 16, `paper` 2).
    batch: tuple[int, ...] = ()
    # What networks compute in; bfloat16 on a GPU, on both sides.
    dtype: Literal["float32", "bfloat16"] = "float32"
    # Calls of each contender that count.
    rounds: int = 7
    # Race PyTorch too, where a subject has a peer.
    peer: bool = True
    # Trace each compiled program too, and say where its time goes.
    profile: bool = False
    # Loading processes of `pipeline`.
    workers: int = 2
    # Frames of `track`, and of the clip that `adapt` is worked out for.
    frames: int = 300
    # Where rows, machine and versions go.
    json: Path | None = None

    @property
    def sizes(self) -> Preset:
        """The networks of the preset, as published: the peer has no more than that."""
        chosen = PRESETS[self.preset]
        return replace(chosen, i2z=replace(chosen.i2z, shape_size=0))

    def batches(self, subject: str) -> tuple[int, ...]:
        """Batch sizes of a subject."""
        return self.batch or SUITE[subject].batch[self.preset]

    def case(self, batch: int) -> str:
        """What a row was measured at."""
        return f"{self.preset}, {batch} x {self.dtype}"


def run(names: Sequence[str], options: Options) -> list[Any]:
    """Measure subjects, all of them if none is named; a row each time one is there.

    Raises:
        InputError: there is no such subject.
    """
    for name in names:
        if name not in SUITE:
            raise InputError("no such benchmark", where=name, expected=", ".join(SUITE))
    # PyTorch wants memory on the same GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    from benchmarks import device

    rates = device.measure_rates(options.dtype)
    record = {
        "machine": device.describe(),
        "rates": rates._asdict(),
        "options": asdict(options) | {"json": None},
        "rows": [],
    }
    out.print(
        f"{record['machine']['device']}, {record['machine']['processor']}, "
        f"{record['machine']['cores']} cores; measured {rates.flops / 1e12:.3g} "
        f"TFLOP/s {options.dtype}, {rates.bytes / 1e9:.3g} GB/s"
    )
    found = []
    for name in names or SUITE:
        module, function = SUITE[name].measure.split(":")
        measure = getattr(importlib.import_module(f"benchmarks.{module}"), function)
        rows = []
        for row in measure(options, rates):
            rows.append(row)
            record["rows"].append(asdict(row))
            if options.json is not None:
                write_json(options.json, record)
        show_table(table(f"{name}: {SUITE[name].summary}", rows))
        found += rows
        jax.clear_caches()
    return found


COLUMNS = {
    "": lambda r: f"{r.case}: {r.name}",
    "first s": lambda r: _number(r.first_s, ".1f"),
    "median s": lambda r: f"{r.median_s:.3g}",
    "middle half": lambda r: f"{r.low_s:.3g} to {r.high_s:.3g}",
    "cpu s": lambda r: _number(r.cpu_s, ".3g"),
    "items/s": lambda r: f"{r.items / r.median_s:.3g}",
    "to peer": lambda r: _number(r.ratio, ".2f"),
    "GFLOP": lambda r: _number(r.flops, ".3g", 1e9),
    "GB": lambda r: _number(r.bytes, ".3g", 1e9),
    "MiB": lambda r: _number(r.memory, ".0f", 2**20),
    "floor s": lambda r: _number(r.floor_s, ".3g"),
    "gap": lambda r: _number(r.gap, ".1f"),
    "of rate": lambda r: _number(r.utilisation, ".0%"),
}


def table(title: str, rows: Iterable[Any]) -> Table:
    """Rows as a person reads them."""
    found = Table(*COLUMNS, title=title)
    for each in rows:
        found.add_row(*(text(each) for text in COLUMNS.values()))
    return found


def _number(value: float | None, form: str, unit: float = 1) -> str:
    return "" if value is None else format(value / unit, form)
