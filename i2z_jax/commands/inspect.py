# SPDX-License-Identifier: Apache-2.0
"""`i2z inspect`: what is in a model folder, or in a preset before it has weights."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.table import Table

from i2z_jax import console, dataclass_json
from i2z_jax.presets import PRESETS

if TYPE_CHECKING:
    from i2z_jax.checkpoint import ModelCard
    from i2z_jax.models.parameters import Parameter


@dataclass(frozen=True)
class Config:
    """Show architecture, origin, licence, and the number of parameters per part."""

    # A model folder, a tracker, the WORKDIR of a run, or the name of a preset: paper,
    # tiny.
    checkpoint: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")
    ]


def run(config: Config) -> None:
    """Print it; weights are not read."""
    from i2z_jax.checkpoint import read_card
    from i2z_jax.checkpoint.models import CARD
    from i2z_jax.files import require_folder

    preset = PRESETS.get(config.checkpoint)
    if preset is not None:
        for architecture, sizes in (("i2znet", preset.i2z), ("dam", preset.dam)):
            _describe(architecture, sizes)
        return
    place = Path(config.checkpoint)
    require_folder(place, "the folder of a model or of a tracker")
    # Of a tracker, or the run that left it, both of its networks.
    parts = sorted(place.glob(f"*/{CARD}")) or sorted(place.glob(f"system/*/{CARD}"))
    for folder in [part.parent for part in parts] or [place]:
        _show(read_card(folder))


def _show(card: "ModelCard") -> None:
    _describe(card.architecture, card.config)
    facts = Table.grid(padding=(0, 2))
    if card.source is not None:
        facts.add_row("converted from", card.source.file)
        facts.add_row("sha256", card.source.sha256)
    facts.add_row("written by", f"i2z_jax {card.tool_version}")
    facts.add_row("licence", card.licence)
    for name, value in card.extras.items():
        facts.add_row(name, json.dumps(value))
    console.out.print(facts)


def _describe(architecture: str, sizes: Any) -> None:
    from i2z_jax.checkpoint import build
    from i2z_jax.models.parameters import parameter_table

    console.out.print(f"\n{architecture}", style="bold")
    facts = Table.grid(padding=(0, 2))
    for name, value in dataclass_json.to_json(sizes).items():
        facts.add_row(name, json.dumps(value).strip('"'))
    console.out.print(facts)
    table = Table("part", "trained", "frozen")
    parameters = parameter_table(build(architecture, sizes))
    for part, rows in groupby(parameters, key=lambda p: p.name.split(".")[0]):
        table.add_row(part, *_counts(list(rows)))
    table.add_section()
    table.add_row("all", *_counts(parameters))
    for column in table.columns[1:]:
        column.justify = "right"
    console.out.print(table)


def _counts(parameters: "Iterable[Parameter]") -> tuple[str, str]:
    parameters = list(parameters)
    return tuple(  # pyrefly: ignore
        f"{sum(p.count for p in parameters if p.trained is trained):,}"
        for trained in (True, False)
    )
