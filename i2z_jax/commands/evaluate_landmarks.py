# SPDX-License-Identifier: Apache-2.0
"""`i2z evaluate landmarks`: NME, AUC and failure rate, with what they depend on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from i2z_jax.commands.evaluate_options import EvaluateOptions


@dataclass(frozen=True)
class Config:
    """Landmark error on a built ibug_300w.

    Every line names its normaliser, face boxes, crop and threshold: without them a
    landmark score cannot be compared with another.
    """

    # A hourglass (`i2z train landmarks`, `i2z convert fan`), or a whole tracker.
    checkpoint: Annotated[
        tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")
    ]
    # A built ibug_300w.
    data: Path
    # Splits; common, challenging, full (the two together) and private by default.
    split: tuple[str, ...] = ()
    # What errors are divided by: distance of the outer eye corners (inter-ocular) or
    # of the middles of the eyes (inter-pupil), or sqrt(width height) of the landmarks.
    normaliser: tuple[Literal["inter-ocular", "inter-pupil", "box"], ...] = (
        "inter-ocular",
    )
    # Of the normalised error, a share of 1: AUC ends and failure begins here.
    threshold: float = 0.08
    # Face boxes: as stored (a detector's where there was one), or the landmarks' own.
    boxes: Literal["dataset", "landmarks"] = "dataset"
    # Side of a hourglass's crop, px; by default what it was trained at, if it says so,
    # else 256. A tracker has its own.
    image_size: int | None = None
    options: Annotated[EvaluateOptions, tyro.conf.arg(name="")] = field(
        default_factory=EvaluateOptions
    )


def run(config: Config) -> None:
    """Network, splits, table."""
    from i2z_jax import checkpoint
    from i2z_jax.commands.evaluate_options import finish, start
    from i2z_jax.errors import InputError, require_multiple
    from i2z_jax.evaluate import landmarks
    from i2z_jax.evaluate.landmark_pictures import landmark_pictures
    from i2z_jax.evaluate.predict import face_model
    from i2z_jax.evaluate.tables import Report
    from i2z_jax.files import require_folder
    from i2z_jax.system import load_system

    runner = start(config.options)
    if not config.normaliser:
        raise InputError("no normaliser", fix="give --normaliser inter-ocular")
    require_folder(config.checkpoint, "the folder of a hourglass or of a tracker")
    if (config.checkpoint / "i2znet").is_dir():
        system = load_system(config.checkpoint)
        models = face_model(system)
        protocol = landmarks.LandmarkProtocol(system.image_size, config.boxes)
    else:
        card = checkpoint.read_card(config.checkpoint)
        if card.architecture != "hourglass":
            raise InputError(
                "neither a hourglass nor a tracker",
                where=config.checkpoint,
                got=card.architecture,
            )
        models = checkpoint.load(config.checkpoint)
        size = config.image_size
        if size is None:
            size = card.extras.get("image_size", 256)
        # Down to one pixel of the coarsest map.
        require_multiple("image_size", size, of=4 * 2**card.config.depth)
        protocol = landmarks.LandmarkProtocol(size, config.boxes)
    scores = {
        split: landmarks.evaluate_landmarks(
            models,
            config.data,
            split,
            protocol,
            runner,
            normalisers=config.normaliser,
            threshold=config.threshold,
        )
        for split in config.split or landmarks.splits_of(config.data)
    }

    def draw(folder: Path) -> list[Path]:
        saved = []
        for split, each in scores.items():
            saved += landmark_pictures(
                each,
                split,
                folder,
                normaliser=config.normaliser[0],
                threshold=config.threshold,
            )
        return saved

    report = Report(
        "evaluate landmarks",
        {
            "checkpoint": str(config.checkpoint),
            "data": str(config.data),
            "landmarks": "68 points, jaw included",
            "decoding": "soft-argmax (docs/evaluation.md)",
        },
        [row for each in scores.values() for row in each.rows],
    )
    finish(config.options, report, landmarks.COLUMNS, draw)
