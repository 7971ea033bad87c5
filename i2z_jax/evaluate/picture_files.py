# SPDX-License-Identifier: Apache-2.0
"""The pictures of one evaluation: error maps, worst frames, curves, as PNG files."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax import drawing
from i2z_jax.data.batches import Source
from i2z_jax.data.perturb import PERTURBATIONS
from i2z_jax.data.pipeline import Views
from i2z_jax.data.warp import resized
from i2z_jax.evaluate import pictures, scenarios
from i2z_jax.evaluate.capture import CaptureScores
from i2z_jax.evaluate.landmarks import LandmarkScores
from i2z_jax.evaluate.metrics import Normaliser, distance
from i2z_jax.evaluate.video import VideoScores
from i2z_jax.geometry.camera import view_direction
from i2z_jax.system import System
from i2z_jax.types import Float, Int, NDArray, UInt8
from i2z_jax.wording import counted

# Examples on a sheet, and the side of a picture on it, px.
COUNT, SIDE = 5, 200
# Vertex error at the yellow end of the colours on sheets, mm.
_LIMIT = 5.0
FACE_COLUMNS = ("picture", "prediction", "its mesh", "true mesh", "error")


def worst(
    each: Float[NDArray, "e"], moments: Int[NDArray, "e"] | None = None
) -> list[int]:
    """The `COUNT` examples with the largest errors, worst first; NaN was not measured.

    Args:
        moments: a number an example; of those with the same one the worst is taken,
            so that a sheet does not show one moment five times.
    """
    moments = np.arange(len(each)) if moments is None else moments
    chosen: dict[int, int] = {}
    for i in np.argsort(-np.nan_to_num(each, nan=-np.inf), kind="stable"):
        if np.isfinite(each[i]):
            chosen.setdefault(int(moments[i]), int(i))
    return list(chosen.values())[:COUNT]


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
    rows = view_rows(system, scores, indices)
    labels = [f"view {i}\n{scores.each[i]:.2f} mm" for i in indices]
    sheet = drawing.sheet(
        list(zip(labels, rows, strict=True)),
        FACE_COLUMNS,
        f"worst views of {name}; error: yellow is {_LIMIT:g} mm and more",
    )
    return [
        pictures.save(folder / f"error_map_{split}.png", error_map),
        pictures.save(folder / f"worst_{split}.png", sheet),
    ]


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
    scale = f"; error: yellow is {_LIMIT:g} mm and more" if truth else ""
    sheet = drawing.sheet(
        list(zip(labels, rows, strict=True)),
        FACE_COLUMNS if truth else FACE_COLUMNS[:3],
        f"worst frames of {name}{scale}",
    )
    return [*saved, pictures.save(folder / f"worst_{file}.png", sheet)]


def view_rows(
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


def face_rows(
    system: System,
    source: Source,
    indices: list[int],
    z: Float[NDArray, "e z"],
    pose: Float[NDArray, "e 6"],
    *,
    truth: bool,
    nearness: float,
) -> list[list[UInt8[NDArray, "s s 3"]]]:
    """For each example the pictures of `FACE_COLUMNS`; three without truth.

    The nearness is the camera's, 1/mm.
    """
    topology, rows = system.topology, []
    for i in indices:
        example = source[i]
        crop = resized(example["image"], SIDE)
        vertices, texture = decoded(system, z[i], pose[i])
        row = [
            crop,
            pictures.draw_face(
                vertices, pose[i], texture, topology, crop, nearness=nearness
            ),
            pictures.draw_mesh(vertices, pose[i], topology, SIDE),
        ]
        if truth:
            true, true_pose = example["vertices"], np.asarray(example["pose"])
            error = drawing.heat(distance(vertices, true), _LIMIT)
            row += [
                pictures.draw_mesh(true, true_pose, topology, SIDE),
                pictures.draw_mesh(vertices, pose[i], topology, SIDE, error),
            ]
        rows.append(row)
    return rows


def decoded(
    system: System, z: Float[NDArray, "z"], pose: Float[NDArray, "6"]
) -> tuple[Float[NDArray, "n 3"], Float[NDArray, "t t 3"]]:
    """Vertices, mm, and texture, [0, 1], of one state, seen from a head pose."""
    vertices, texture = _decoder(system.dam, jnp.asarray(z)[None], pose[None])
    return np.asarray(vertices[0]), np.asarray(texture[0])


@jax.jit
def _decoder(dam, z, pose):
    face = dam.decode(z, view_direction(jnp.asarray(pose)))
    return face.vertices, jnp.clip(face.texture, 0, 1)


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
