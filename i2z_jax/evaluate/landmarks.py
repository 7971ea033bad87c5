# SPDX-License-Identifier: Apache-2.0
"""Landmark error on a built ibug_300w: NME, AUC, failure rate (DESIGN section 10).

A published NME means nothing without its normaliser and its face boxes; every row
names both. Two predictors: the *hourglass* (soft-argmax of its last heatmaps), and,
for a whole system, the *mesh*: the 68 points of the decoded face, projected.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import jax
import numpy as np

from i2z_jax.data import framing
from i2z_jax.data.batches import Example
from i2z_jax.data.pipeline import LandmarkPictures
from i2z_jax.data.records import IBUG, has_split
from i2z_jax.data.warp import sample_crop
from i2z_jax.errors import InputError
from i2z_jax.evaluate.metrics import (
    NORMALISERS,
    Normaliser,
    area_under_curve,
    failure_rate,
    landmark_error,
)
from i2z_jax.evaluate.predict import Arrays, FaceModel, Runner, stacked
from i2z_jax.evaluate.tables import Column, Row
from i2z_jax.geometry.crop import apply_affine, box_of_points
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.models.heatmaps import soft_argmax
from i2z_jax.models.hourglass import Hourglass
from i2z_jax.types import Array, Float, NDArray

# "dataset": the stored box, which is the detector's where 300-W's tables were there,
# and the landmarks' own elsewhere. "landmarks": always the tight box of the truth,
# as FAN's authors and many tables use; it knows where the face is.
Boxes = Literal["dataset", "landmarks"]
FULL = "common+challenging"
PUBLISHED_SPLITS = ("common", "challenging", FULL, "private")

COLUMNS = (
    Column("split", "split"),
    Column("faces", "faces"),
    Column("predictor", "predictor"),
    Column("nme_percent", "NME %", 2),
    Column("normaliser", "normalised by"),
    Column("auc", "AUC", 4),
    Column("failure_percent", "failures %", 2),
    Column("threshold", "at"),
    Column("boxes", "boxes"),
    Column("crop", "crop"),
)


@dataclass(frozen=True)
class LandmarkProtocol:
    """What must be said beside every landmark score.

    Attributes:
        image_size: side of the crop, px.
        boxes: where face boxes come from.
    """

    image_size: int
    boxes: Boxes = "dataset"

    def apply(self, example: Example, rng: np.random.Generator) -> Example:
        """A picture's crop and its landmarks in it."""
        truth = np.asarray(example["landmarks"], np.float64)
        box = np.asarray(example["box"], np.float64)
        if self.boxes == "landmarks":
            box = np.asarray(box_of_points(truth))
        # 300-W's detector boxes, too, are as tight as the landmarks': other than a
        # cascade's.
        affine = framing.crop_for_box(box, "landmarks", self.image_size)
        image = sample_crop(
            example["image"], affine, self.image_size, cv2.BORDER_CONSTANT
        )
        points = np.asarray(apply_affine(affine, truth), np.float32)
        return {"image": image, "landmarks": points, "index": example["index"]}

    def says(self, counted: Counter) -> dict[str, str]:
        """The columns `boxes` and `crop`, given how many boxes came from where."""
        if self.boxes == "landmarks":
            counted = Counter({"landmarks": counted.total()})
        boxes = ", ".join(f"{count} {name}" for name, count in sorted(counted.items()))
        return {"boxes": boxes, "crop": f"tracker framing, {self.image_size} px"}


class LandmarkScores(NamedTuple):
    """What a split gave.

    Attributes:
        rows: a row of the table for each predictor and normaliser.
        errors: predictor -> normaliser -> error of each face.
        points: predictor -> landmarks in crop px, each face.
        protocol, source: with which to look at a face again.
    """

    rows: list[Row]
    errors: dict[str, dict[Normaliser, Float[NDArray, "e"]]]
    points: dict[str, Float[NDArray, "e 68 2"]]
    protocol: LandmarkProtocol
    source: LandmarkPictures


def splits_of(directory: str | Path) -> list[str]:
    """The published test splits that were built; "train" without any."""
    there = [
        split
        for split in PUBLISHED_SPLITS
        if all(has_split(directory, IBUG, part) for part in split.split("+"))
    ]
    return there or ["train"]


def evaluate_landmarks(
    models: Hourglass | FaceModel,
    directory: str | Path,
    split: str,
    protocol: LandmarkProtocol,
    runner: Runner,
    *,
    normalisers: tuple[Normaliser, ...] = ("inter-ocular",),
    threshold: float = 0.08,
) -> LandmarkScores:
    """Landmark errors on a split.

    Args:
        split: of the dataset, or "full", as the published tables say.
        threshold: of the error, a share of 1: where AUC ends and failure begins.

    Raises:
        InputError: no such split, or a threshold that is none.
    """
    if not threshold > 0:
        raise InputError("not above 0", where="--threshold", got=threshold)
    split = FULL if split == "full" else split
    source = LandmarkPictures(directory, split)
    counted = Counter(
        record["box_source"].decode()
        for record in (source.record(i) for i in range(len(source)))
    )
    parts: list[Arrays] = []
    batches = runner.rows(
        source,
        partial(_detect, size=protocol.image_size),
        runner.place(models),
        what=f"{Path(directory).name} {split}",
        change=protocol.apply,
    )
    for batch, points in batches:
        parts.append({"truth": batch["landmarks"], "points": points})
    result = stacked(parts)
    truth = result["truth"].astype(np.float64)
    points = {name: x.astype(np.float64) for name, x in result["points"].items()}
    errors = {
        name: {n: landmark_error(x, truth, n) for n in NORMALISERS}
        for name, x in points.items()
    }
    rows = [
        {
            "split": "full" if split == FULL else split,
            "faces": len(source),
            "predictor": name,
            "nme_percent": 100 * float(by_normaliser[normaliser].mean()),
            "normaliser": normaliser,
            "auc": area_under_curve(by_normaliser[normaliser], threshold),
            "failure_percent": 100 * failure_rate(by_normaliser[normaliser], threshold),
            "threshold": f"{threshold:g}",
            **protocol.says(counted),
        }
        for name, by_normaliser in errors.items()
        for normaliser in normalisers
    ]
    return LandmarkScores(rows, errors, points, protocol, source)


@partial(jax.jit, static_argnames="size")
def _detect(
    models: Hourglass | FaceModel, batch: Mapping[str, Array], *, size: int
) -> dict[str, Float[Array, "b 68 2"]]:
    """Landmarks in crop px by predictor."""
    image = unit_range(batch["image"])
    if isinstance(models, Hourglass):
        return {"hourglass": soft_argmax(models(image)[-1], size).points}
    output = models.net(image)
    vertices = models.dam.decode_vertices(output.z)
    found = {}
    if output.heatmaps is not None:
        found["hourglass"] = soft_argmax(output.heatmaps, size).points
    if (points := models.mesh.landmark_pixels(vertices, output.pose, size)) is not None:
        found["mesh"] = points
    return found
