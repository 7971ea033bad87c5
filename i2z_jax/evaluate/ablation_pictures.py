# SPDX-License-Identifier: Apache-2.0
"""Pictures of `i2z evaluate ablation`."""

from pathlib import Path

import numpy as np

from i2z_jax import drawing
from i2z_jax.data.perturb import PERTURBATIONS
from i2z_jax.data.pipeline import Views
from i2z_jax.data.warp import resized
from i2z_jax.evaluate import pictures, scenarios
from i2z_jax.evaluate.picture_rows import COUNT, SIDE


def scenario_picture(directory: Path, split: str, size: int, folder: Path) -> Path:
    """What each scenario does to some views."""
    source, rng = Views(directory, split), np.random.default_rng(0)
    columns = (None, *PERTURBATIONS)
    rows = []
    for k in range(COUNT):
        index = (k * len(source) // COUNT + k) % len(source)  # cameras change too
        example = source[index]
        row = [
            resized(scenarios.change_for(name, size)(example, rng)["image"], SIDE)
            for name in columns
        ]
        rows.append((f"view {index}", row))
    sheet = drawing.sheet(
        rows, ("unchanged", *PERTURBATIONS), f"the scenarios on {split}"
    )
    return pictures.save(folder / "scenarios.png", sheet)
