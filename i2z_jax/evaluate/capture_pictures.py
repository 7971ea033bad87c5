# SPDX-License-Identifier: Apache-2.0
"""Pictures of `i2z evaluate capture`."""

from functools import partial
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax import drawing
from i2z_jax.data.augment import resized_view
from i2z_jax.data.warp import resized
from i2z_jax.evaluate import pictures
from i2z_jax.evaluate.capture import CaptureScores
from i2z_jax.evaluate.picture_rows import (
    COUNT,
    FACE_COLUMNS,
    LIMIT_MM,
    SIDE,
    face_rows,
    worst,
)
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.models.heatmaps import soft_argmax
from i2z_jax.system import System
from i2z_jax.types import NDArray, UInt8
from i2z_jax.wording import counted


def capture_pictures(
    system: System, scores: CaptureScores, split: str, folder: Path
) -> list[Path]:
    """Where on the face the errors are, and the views that went worst."""
    name = f"{split} ({counted(len(scores.source), 'view')})"
    mean_face = np.asarray(system.dam.statistics.vert_mean[...])
    error_map = pictures.error_map(
        mean_face,
        scores.vertex_error,
        system.topology,
        f"mean vertex error, {name}: {scores.vertex_error.mean():.2f} mm",
    )
    indices = worst(scores.each, scores.frames)
    rows = _view_rows(system, scores, indices)
    labels = [f"view {i}\n{scores.each[i]:.2f} mm" for i in indices]
    sheet = drawing.sheet(
        list(zip(labels, rows, strict=True)),
        FACE_COLUMNS,
        f"worst views of {name}; error: yellow is {LIMIT_MM:g} mm and more",
    )
    return [
        pictures.save(folder / f"error_map_{split}.png", error_map),
        pictures.save(folder / f"worst_{split}.png", sheet),
    ]


def seen_picture(
    system: System, scores: CaptureScores, split: str, folder: Path
) -> Path:
    """Views spread over a split: the picture, its heatmaps, the face that is read from
    it and the true one."""
    source = scores.source
    # Another camera each time: views of a frame lie side by side.
    indices = [(2 * k + 1) * len(source) // (2 * COUNT) + k for k in range(COUNT)]
    indices = [min(i, len(source) - 1) for i in indices]
    rows = _view_rows(system, scores, indices)
    columns = FACE_COLUMNS
    if system.net.hourglass is not None:
        crop = partial(resized_view, size=system.image_size)
        crops = np.stack([crop(source[i])["image"] for i in indices])
        for row, warm in zip(rows, _heatmaps(system, crops), strict=True):
            row.insert(1, warm)
        columns = (columns[0], "68 landmarks in it", *columns[1:])
    labels = [f"view {i}\n{scores.each[i]:.2f} mm" for i in indices]
    sheet = drawing.sheet(
        list(zip(labels, rows, strict=True)),
        columns,
        f"{split}: what the network sees, and reads from it",
    )
    return pictures.save(folder / f"seen_{split}.png", sheet)


def _view_rows(
    system: System, scores: CaptureScores, indices: list[int]
) -> list[list[UInt8[NDArray, "s s 3"]]]:
    """`face_rows` of some views of a capture."""
    return face_rows(
        system,
        scores.source,
        indices,
        scores.z,
        scores.pose,
        truth=True,
        nearness=scores.nearness,
    )


def _heatmaps(
    system: System, crops: UInt8[NDArray, "k h h 3"]
) -> list[UInt8[NDArray, "s s 3"]]:
    """Pictures, dimmed, with the heat of all landmarks over them and their points."""

    @jax.jit
    def look(hourglass, crops):
        heat = hourglass(unit_range(crops))[-1]
        return heat.max(-1), soft_argmax(heat, SIDE).points

    found = look(system.net.hourglass, jnp.asarray(crops))
    heat, points = (np.asarray(x, np.float32) for x in found)
    shown = []
    for crop, warm, dots in zip(crops, heat, points, strict=True):
        warm = np.clip(cv2.resize(warm, (SIDE, SIDE)), 0, 1)[..., None]
        glow = drawing.heat(warm[..., 0], 1.0) * 255
        blend = 0.45 * (1 - warm) * resized(crop, SIDE) + warm * glow
        shown.append(drawing.with_points(blend.astype(np.uint8), dots, drawing.GREEN))
    return shown
