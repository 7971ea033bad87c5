# SPDX-License-Identifier: Apache-2.0
"""Ordinary examples, not the worst: what a network sees, and systems side by side."""

from collections.abc import Mapping
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
from i2z_jax.evaluate.metrics import distance
from i2z_jax.evaluate.picture_files import FACE_COLUMNS, decoded, view_rows
from i2z_jax.evaluate.video import VideoScores
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.models.heatmaps import soft_argmax
from i2z_jax.system import System
from i2z_jax.types import NDArray, UInt8

# Examples in a picture, and the side of each, px.
COUNT, SIDE = 5, 200


def seen_picture(
    system: System, scores: CaptureScores, split: str, folder: Path
) -> Path:
    """Views spread over a split: the picture, its heatmaps, the face that is read from
    it and the true one."""
    source = scores.source
    # Another camera each time: views of a frame lie side by side.
    indices = [(2 * k + 1) * len(source) // (2 * COUNT) + k for k in range(COUNT)]
    indices = [min(i, len(source) - 1) for i in indices]
    rows = view_rows(system, scores, indices)
    columns = FACE_COLUMNS
    if system.net.hourglass is not None:
        crop = partial(resized_view, size=system.image_size)
        crops = np.stack([crop(source[i])["image"] for i in indices])
        for row, warm in zip(rows, heatmaps(system, crops), strict=True):
            row.insert(1, warm)
        columns = (columns[0], "68 landmarks in it", *columns[1:])
    labels = [f"view {i}\n{scores.each[i]:.2f} mm" for i in indices]
    sheet = drawing.sheet(
        list(zip(labels, rows, strict=True)),
        columns,
        f"{split}: what the network sees, and reads from it",
    )
    return pictures.save(folder / f"seen_{split}.png", sheet)


def heatmaps(
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


def comparison_picture(
    systems: Mapping[str, System],
    scores: VideoScores,
    folder: Path,
    labels: Mapping[str, str],
) -> Path:
    """The same frames by every system, spread over those that count.

    With ground truth each system has a second line, its vertex errors, in colours that
    are the same for all.

    Args:
        labels: what each system is called in the picture.
    """
    counted = np.flatnonzero(scores.counted)
    places = (np.arange(COUNT) + 0.5) * len(counted) / COUNT
    indices = np.unique(counted[places.astype(int)]).tolist()
    examples = [scores.source[i] for i in indices]
    truth, limit = bool(scores.vertex_error), _limit(scores)
    rows = [("video", [resized(example["image"], SIDE) for example in examples])]
    for name, system in systems.items():
        faces, errors = [], []
        for i, example in zip(indices, examples, strict=True):
            pose = scores.poses[name][i]
            vertices, texture = decoded(system, scores.states[name][i], pose)
            crop = resized(example["image"], SIDE)
            face = pictures.draw_face(
                vertices,
                pose,
                texture,
                system.topology,
                crop,
                nearness=scores.nearness,
            )
            faces.append(face)
            if truth:
                error = distance(vertices, example["vertices"])
                heat = drawing.heat(error, limit)
                mesh = pictures.draw_mesh(vertices, pose, system.topology, SIDE, heat)
                errors.append(pictures.noted(mesh, f"{error.mean():.2f} mm"))
        rows.append((labels[name], faces))
        if truth:
            rows.append((f"{labels[name]}:\nerror", errors))
    what = "frames" if scores.counted.all() else "frames that were not learned from"
    scale = f"; error: yellow is {limit:g} mm and more" if truth else ""
    columns = [f"{scores.time_s[i]:.1f} s" for i in indices]
    sheet = drawing.sheet(rows, columns, what + scale)
    return pictures.save(folder / "comparison.png", sheet)


def _limit(scores: VideoScores) -> float:
    """Yellow end of the colours, mm: nearly all of the first system's errors are
    below it, on the mean."""
    first = next(iter(scores.vertex_error.values()), np.ones(1))
    return pictures.round_up(float(np.quantile(first, 0.98)))
