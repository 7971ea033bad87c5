# SPDX-License-Identifier: Apache-2.0
"""Pictures of `i2z evaluate video`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from i2z_jax import drawing
from i2z_jax.data.warp import resized
from i2z_jax.evaluate import pictures
from i2z_jax.evaluate.metrics import distance
from i2z_jax.evaluate.picture_rows import (
    COUNT,
    FACE_COLUMNS,
    LIMIT_MM,
    SIDE,
    decoded,
    face_rows,
    worst,
)
from i2z_jax.evaluate.video import VideoScores
from i2z_jax.system import System


def video_pictures(
    name: str, system: System, scores: VideoScores, folder: Path, file: str
) -> list[Path]:
    """Like a capture's; without truth the worst frames by landmark residual. Frames
    that do not count are not looked at.

    Args:
        name: of the predictor, in the titles.
        file: stands for it in the names of the files.
    """
    saved = []
    truth = name in scores.vertex_error
    if truth:
        error = scores.vertex_error[name]
        error_map = pictures.error_map(
            np.asarray(system.dam.statistics.vert_mean[...]),
            error,
            system.topology,
            f"mean vertex error, {name}: {error.mean():.2f} mm",
        )
        saved.append(pictures.save(folder / f"error_map_{file}.png", error_map))
    metric, unit = ("vertex_mm", "mm") if truth else ("landmark_residual_px", "px")
    each = scores.frames[name].get(metric)
    if each is None:
        return saved
    takes = np.arange(len(each)) * 4 * COUNT // len(each)
    indices = worst(np.where(scores.counted, each, np.nan), takes)
    rows = face_rows(
        system,
        scores.source,
        indices,
        scores.states[name],
        scores.poses[name],
        truth=truth,
        nearness=scores.nearness,
    )
    labels = [f"frame {i}\n{each[i]:.2f} {unit}" for i in indices]
    scale = f"; error: yellow is {LIMIT_MM:g} mm and more" if truth else ""
    sheet = drawing.sheet(
        list(zip(labels, rows, strict=True)),
        FACE_COLUMNS if truth else FACE_COLUMNS[:3],
        f"worst frames of {name}{scale}",
    )
    return [*saved, pictures.save(folder / f"worst_{file}.png", sheet)]


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
