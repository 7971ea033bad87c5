# SPDX-License-Identifier: Apache-2.0
"""`i2z convert`: a PyTorch checkpoint becomes a model folder, proved equal."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.table import Table

from i2z_jax import console
from i2z_jax.errors import InputError

if TYPE_CHECKING:
    from i2z_jax.convert.mapping import MismatchError
    from i2z_jax.convert.verify import StageError


@dataclass(frozen=True)
class Config:
    """Convert a PyTorch checkpoint. Loading it never runs code of the file.

    vgg: torchvision's VGG-16 and -19, with and without BN; fan: FAN of
    face-alignment; princeton: stacked hourglass of princeton-vl; dam: Multiface's deep
    appearance model, five variants. Sizes are read off the tensors.
    """

    # What the checkpoint is; auto recognises it by the names of its tensors.
    arch: tyro.conf.Positional[Literal["auto", "vgg", "fan", "princeton", "dam"]]
    # .pth, .pth.tar, .pt, or the .zip of a scripted network.
    checkpoint: Annotated[
        tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")
    ]
    # The model folder to write: weights/ and model.json.
    out: Path
    # Run the PyTorch network too, print the error per stage, and write nothing if one
    # is above --tolerance (needs PyTorch).
    verify: bool = False
    # Largest error of a stage, relative to its largest value.
    tolerance: float = 1e-4
    # Folder with tex_mean.png, tex_var.txt, vert_mean.bin, vert_var.txt (dam only).
    stats: Path | None = None
    # How many landmarks a landmark network must have.
    landmarks: int = 68
    # Replace the folder if it exists.
    overwrite: bool = False


def run(config: Config) -> None:
    """Convert, verify if asked, then write."""
    from i2z_jax.checkpoint import save_model
    from i2z_jax.convert.convert import convert
    from i2z_jax.convert.mapping import MismatchError
    from i2z_jax.convert.verify import verify

    try:
        converted = convert(
            config.checkpoint,
            config.arch,
            stats=config.stats,
            landmarks=config.landmarks,
        )
    except MismatchError as error:
        _print_mismatches(error)
        raise
    card = converted.card
    console.out.print(f"{converted.family.name}: {card.config}")
    for why, count in converted.left_out.items():
        console.out.print(f"left out: {why} ({count})")
    if config.verify:
        errors = verify(converted)
        _print_errors(errors)
        # The first: what is wrong there is wrong in all that follows.
        for error in errors:
            if not error.relative <= config.tolerance:  # NaN is no agreement
                raise InputError(
                    f"differs from PyTorch at {error.stage}; nothing was written",
                    where=config.checkpoint,
                    expected=f"at most {config.tolerance:g}",
                    got=f"{error.relative:.2g}",
                )
    save_model(config.out, converted.module, card, overwrite=config.overwrite)
    console.out.print(f"wrote {config.out}; licence: {card.licence}")


def _print_errors(errors: "list[StageError]") -> None:
    table = Table("stage", "shape", "largest value", "max-abs error", "relative")
    for e in errors:
        shape = "x".join(map(str, e.shape))
        numbers = (f"{e.scale:.4g}", f"{e.max_abs:.2e}", f"{e.relative:.2e}")
        table.add_row(e.stage, shape, *numbers)
    console.out.print(table)


def _print_mismatches(error: "MismatchError") -> None:
    # Lines, not a table: names are long, and people grep for them.
    for m in error.mismatches:
        names = " -> ".join(filter(None, (m.torch, m.flax)))
        console.err.print(f"{m.kind}: {names} ({m.detail})")
