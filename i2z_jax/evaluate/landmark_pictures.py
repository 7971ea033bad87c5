# SPDX-License-Identifier: Apache-2.0
"""Pictures of `i2z evaluate landmarks`."""

from pathlib import Path

import numpy as np

from i2z_jax import drawing
from i2z_jax.data.warp import resized
from i2z_jax.evaluate import pictures
from i2z_jax.evaluate.landmarks import LandmarkScores
from i2z_jax.evaluate.metrics import Normaliser
from i2z_jax.evaluate.picture_rows import SIDE, worst
from i2z_jax.wording import counted


def landmark_pictures(
    scores: LandmarkScores,
    split: str,
    folder: Path,
    *,
    normaliser: Normaliser,
    threshold: float,
) -> list[Path]:
    """Cumulative error distribution, and the faces that went worst."""
    errors = {name: each[normaliser] for name, each in scores.errors.items()}
    file = split.replace("+", "_")
    title = f"{split}: {counted(len(scores.source), 'face')}"
    curves = pictures.error_curves(
        errors, threshold, title, f"NME ({normaliser}), share of 1"
    )
    saved = [pictures.save(folder / f"ced_{file}.png", curves)]
    size = scores.protocol.image_size
    for name, each in errors.items():
        rows = []
        for i in worst(each):
            example = scores.protocol.apply(scores.source[i], np.random.default_rng(0))
            crop, zoom = resized(example["image"], SIDE), SIDE / size
            row = [
                crop,
                drawing.with_points(crop, example["landmarks"] * zoom, drawing.GREEN),
                drawing.with_points(crop, scores.points[name][i] * zoom, drawing.RED),
            ]
            rows.append((f"face {i}\nNME {100 * each[i]:.1f} %", row))
        sheet = drawing.sheet(
            rows, ("picture", "truth", name), f"worst faces of {title}"
        )
        saved.append(pictures.save(folder / f"worst_{file}_{name}.png", sheet))
    return saved
