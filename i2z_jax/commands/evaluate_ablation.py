# SPDX-License-Identifier: Apache-2.0
"""`i2z evaluate ablation`: the paper's table, four variants under five scenarios."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from i2z_jax.commands.evaluate_options import EvaluateOptions


@dataclass(frozen=True)
class Config:
    """How much a prediction changes when only the picture does.

    View, Color, Light, Jitter, Background (docs/design.md, section 10), each cell
    geometry in mm / head pose in px of 256 / texture difference, with the published
    figures beside.
    """

    # Trackers of one or more variants: WORKDIR/system of `i2z train regress`.
    checkpoints: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="CHECKPOINT [CHECKPOINT ...]"),
    ]
    # A built multiview_capture of the same person.
    data: Path
    # Split to take views from; the first that was held out by default.
    split: str | None = None
    # About how many views, whole frames spread over the split; 0 for all.
    views: int = 400
    options: Annotated[EvaluateOptions, tyro.conf.arg(name="")] = field(
        default_factory=EvaluateOptions
    )


def run(config: Config) -> None:
    """Systems, scenarios, table."""
    from i2z_jax.commands.evaluate_options import finish, start
    from i2z_jax.data.perturb import STRENGTHS
    from i2z_jax.errors import InputError, require_at_least
    from i2z_jax.evaluate import ablation
    from i2z_jax.evaluate.ablation_pictures import scenario_picture
    from i2z_jax.evaluate.capture import held_out_splits
    from i2z_jax.evaluate.scenarios import COMPARABLE, VARIANTS
    from i2z_jax.evaluate.tables import Report
    from i2z_jax.system import load_system

    require_at_least(config, {"views": 0})
    runner = start(config.options)
    if not config.checkpoints:
        raise InputError("no checkpoint", fix="give WORKDIR/system of a training run")
    systems = [load_system(path) for path in config.checkpoints]
    # In the published order, whatever order they were given in.
    systems.sort(key=lambda s: VARIANTS.index(s.net_card.config.variant))
    networks = [system.net_card.config for system in systems]
    split = config.split or held_out_splits(config.data)[0]
    scores = ablation.evaluate_ablation(
        systems, config.data, split, runner, views=config.views
    )

    def draw(folder: Path) -> list[Path]:
        return [scenario_picture(config.data, split, systems[0].image_size, folder)]

    report = Report(
        "evaluate ablation",
        {
            "checkpoints": [str(path) for path in config.checkpoints],
            "data": str(config.data),
            "split": split,
            "views": config.views,
            "strengths": STRENGTHS._asdict(),
        },
        ablation.table_rows(networks, scores),
        [COMPARABLE],
    )
    finish(config.options, report, ablation.COLUMNS, draw)
