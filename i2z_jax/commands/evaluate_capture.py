# SPDX-License-Identifier: Apache-2.0
"""`i2z evaluate capture`: absolute errors where everything is known."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from i2z_jax import console
from i2z_jax.commands.evaluate_options import EvaluateOptions


@dataclass(frozen=True)
class Config:
    """Errors of a tracker on a built capture, beside the mean face's.

    Vertices in mm (whole face, eyes, mouth, jaw), texture as PSNR and mean absolute
    colour difference on visible texels, the face drawn into the picture as PSNR, head
    pose in px of a 256 px crop and in degrees, distance of z.
    """

    # A tracker: WORKDIR/system of `i2z train regress` or `i2z adapt`.
    checkpoint: Annotated[
        tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")
    ]
    # A built multiview_capture of the same person.
    data: Path
    # Splits to measure; all that were held out by default.
    split: tuple[str, ...] = ()
    # A grey or RGB picture that weights texels, 0 to 255 in a texture's layout, such as
    # Multiface's loss_weight_mask.png, in all figures of colour but one of Multiface's.
    texture_mask: Path | None = None
    options: Annotated[EvaluateOptions, tyro.conf.arg(name="")] = field(
        default_factory=EvaluateOptions
    )


def run(config: Config) -> None:
    """Labels, splits, table."""
    from i2z_jax.commands.evaluate_options import finish, start
    from i2z_jax.data.records import MULTIVIEW, open_split
    from i2z_jax.evaluate import capture
    from i2z_jax.evaluate.capture_pictures import capture_pictures, seen_picture
    from i2z_jax.evaluate.tables import Report
    from i2z_jax.evaluate.texel_weights import read_texture_mask
    from i2z_jax.system import load_system

    runner = start(config.options)
    system = load_system(config.checkpoint)
    mask = None
    if config.texture_mask is not None:
        size = system.dam_card.config.texture_size
        mask = read_texture_mask(config.texture_mask, size)
    splits = config.split or capture.held_out_splits(config.data)
    if not config.split and splits == ["train"]:
        console.err.print(f"{config.data}: nothing was held out; this is of `train`")
    for split in splits:  # before the labels, which take long
        open_split(config.data, MULTIVIEW, split, config="views")
    z = capture.capture_labels(system, config.data)
    scores = {
        split: capture.evaluate_capture(system, config.data, split, z, runner, mask)
        for split in splits
    }

    def draw(folder: Path) -> list[Path]:
        saved = []
        for split, each in scores.items():
            saved += capture_pictures(system, each, split, folder)
            saved.append(seen_picture(system, each, split, folder))
        return saved

    report = Report(
        "evaluate capture",
        {
            "checkpoint": str(config.checkpoint),
            "data": str(config.data),
            "variant": system.net_card.config.variant,
            "texture_mask": None if mask is None else str(config.texture_mask),
        },
        [row for each in scores.values() for row in each.rows],
        [
            "Pose px: mean distance of the true vertices under predicted and true head "
            "pose, in a 256 px crop. Texture: on texels that the view's camera sees. "
            "Screen: on pixels at which the true mesh shows what the camera saw; where "
            "the prediction covers none, it is black. Decoder, true state: the "
            "decoder's own error."
        ],
    )
    finish(config.options, report, capture.COLUMNS, draw)
