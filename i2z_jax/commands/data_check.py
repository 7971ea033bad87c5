# SPDX-License-Identifier: Apache-2.0
"""`i2z data check`: say whether a dataset folder is usable, with a picture."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from i2z_jax import console
from i2z_jax.errors import InputError
from i2z_jax.wording import counted

# Lines that are printed of one kind of problem; --json has them all.
SHOWN = 3


@dataclass(frozen=True)
class Config:
    """Look at every file of a dataset: a capture in Multiface layout, 300-W folders
    or pictures with .pts, a video or folder of frames, or a built dataset.

    Exit code 0: usable, with the gaps that are printed. 1: not usable.
    """

    # The folder (or video).
    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA")]
    # Where to draw mesh, landmarks or boxes on the pictures they belong to: not in
    # DATA, where it would be read as data.
    picture: Path = Path("check.png")
    # Write everything that was found as JSON.
    json: Path | None = None
    # Count a dataset with gaps as not usable.
    strict: bool = False


def run(config: Config) -> None:
    """Check, print, draw.

    Raises:
        InputError: not usable, which makes the exit code 1; or there is no place for
            the results.
    """
    from i2z_jax.data.check import check
    from i2z_jax.data.check_report import contact_sheet
    from i2z_jax.files import write_json

    _make_places(config)
    report = check(config.path)
    console.out.print(f"{config.path}: {report.layout}")
    for name, value in report.facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        console.out.print(f"  {name}: {value}")
    for severity, kinds in (("error", report.errors), ("gap", report.gaps)):
        for kind, lines in kinds.items():
            console.out.print(f"  {severity}: {kind} ({len(lines)})")
            for line in lines[:SHOWN]:
                console.out.print(f"    {line}")
            if len(lines) > SHOWN:
                console.out.print(f"    and {len(lines) - SHOWN} more")
    if report.cells:
        contact_sheet(report.cells, config.picture)
        console.out.print(f"  picture: {config.picture}")
    if config.json is not None:
        write_json(config.json, report.as_json(strict=config.strict))
    if not report.usable(strict=config.strict):
        problems = sum(map(len, report.errors.values())) or sum(
            map(len, report.gaps.values())
        )
        raise InputError(
            f"not usable, {counted(problems, 'problem')}", where=config.path
        )
    console.out.print("  usable")


def _make_places(config: Config) -> None:
    from i2z_jax.files import make_place

    picture, data = (Path(os.path.realpath(p)) for p in (config.picture, config.path))
    if picture.is_relative_to(data):
        raise InputError(
            "the picture would lie in the data",
            where=config.picture,
            fix="give --picture FILE in another folder",
        )
    for place in (config.picture, config.json):
        if place is not None:
            make_place(place)
