# SPDX-License-Identifier: Apache-2.0
"""Absolute errors on a built capture, where everything is known (DESIGN section 10).

Three predictors on every view: the network; the *mean face*, which is what knowing the
person and nothing of the picture gives; and the *true state*, the decoder fed with the
labels, which no network can beat by much: its error is the decoder's own.
"""

from collections.abc import Mapping
from functools import partial
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.data.augment import resized_view
from i2z_jax.data.capture_source import only_source
from i2z_jax.data.pipeline import ViewField, Views
from i2z_jax.data.records import MULTIVIEW, description
from i2z_jax.errors import InputError
from i2z_jax.evaluate.metrics import (
    colour_difference,
    distance,
    pose_distance,
    psnr,
    rotation_angle,
    squared_colour_difference,
)
from i2z_jax.evaluate.predict import (
    Arrays,
    FaceModel,
    Runner,
    face_model,
    require_same_mesh,
    stacked,
)
from i2z_jax.evaluate.tables import Column, Row
from i2z_jax.geometry.camera import view_direction
from i2z_jax.geometry.mesh_arrays import MeshArrays
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.geometry.unwrap import unwrap_frames
from i2z_jax.system import System
from i2z_jax.train.labels import encode_frames
from i2z_jax.types import Array, Bool, Float, NDArray

# Splits that hold something back; what is measured by default.
HELD_OUT = ("test", "camera", "test_camera")
PREDICTORS = {
    "network": "network",
    "mean": "mean face",
    "label": "decoder, true state",
}

COLUMNS = (
    Column("split", "split"),
    Column("predictor", "predictor"),
    Column("views", "views"),
    Column("vertex_mm", "vertices\nmm"),
    Column("eyes_mm", "eyes\nmm"),
    Column("mouth_mm", "mouth\nmm"),
    Column("jaw_mm", "jaw\nmm"),
    Column("texture_psnr_db", "texture\nPSNR dB", 2),
    Column("texture_difference", "texture\n|diff|", 4),
    Column("pose_px", "pose\npx of 256", 2),
    Column("pose_deg", "pose\ndeg", 2),
    Column("z_distance", "z\ndistance"),
)


class CaptureScores(NamedTuple):
    """What a split gave.

    Attributes:
        rows: a row of the table for each predictor.
        vertex_error: the network's mean error at each vertex, mm.
        each: the network's error on each view, vertices in mm.
        z, pose: the network's prediction for each view.
        source: the views, for who wants to look at some.
    """

    rows: list[Row]
    vertex_error: Float[NDArray, "n"]
    each: Float[NDArray, "e"]
    z: Float[NDArray, "e z"]
    pose: Float[NDArray, "e 6"]
    source: Views


def held_out_splits(directory: str | Path) -> list[str]:
    """The splits of a capture that nothing was trained on; "train" without any."""
    counts = description(directory, MULTIVIEW)["splits"]["views"]
    return [split for split in HELD_OUT if counts.get(split)] or ["train"]


def capture_labels(system: System, directory: str | Path) -> Float[NDArray, "frames z"]:
    """True z of every frame, by the system's own decoder.

    Raises:
        InputError: the capture is of another mesh or texture size than the system.
    """
    topology = only_source(directory).topology
    require_same_mesh(topology, system, directory)
    return encode_frames(system.dam, directory)


def evaluate_capture(
    system: System,
    directory: str | Path,
    split: str,
    z: Float[NDArray, "frames z"],
    runner: Runner,
) -> CaptureScores:
    """Errors of a system on a split of a built multiview capture.

    Args:
        z: of every frame, from `capture_labels`.

    Raises:
        InputError: no such split, or nothing in it.
    """
    fields: tuple[ViewField, ...] = ("image", "vertices")
    source = Views(directory, split, fields=fields, tables={"z": z})
    if not len(source):
        raise InputError("no examples in this split", where=directory, got=split)
    if "texture" in source.record(0):  # their size was checked with the labels
        fields = (*fields, "texture")
        source = Views(directory, split, fields=fields, tables={"z": z})
    models = runner.place(face_model(system))
    crop = partial(resized_view, size=system.image_size)

    parts: list[Arrays] = []
    vertex_error = np.zeros(system.topology.vertex_count)
    what = f"{Path(directory).name} {split}"
    batches = runner.rows(source, _measure, models, what=what, change=crop)
    for _, result in batches:
        vertex_error += result.pop("vertex_error").astype(np.float64).sum(0)
        parts.append(result)
    result = stacked(parts)
    rows = [
        {
            "split": split,
            "predictor": name,
            "views": len(source),
            **_means(result["errors"][predictor], result["seen"]),
        }
        for predictor, name in PREDICTORS.items()
    ]
    return CaptureScores(
        rows,
        vertex_error / len(source),
        result["errors"]["network"]["vertex_mm"],
        result["z"],
        result["pose"],
        source,
    )


@jax.jit
def _measure(model: FaceModel, batch: Mapping[str, Array]) -> Arrays:
    """Errors of the three predictors, a row a view."""
    pose, vertices = batch["pose"], batch["vertices"]
    output = model.net(unit_range(batch["image"]))
    b, statistics = len(pose), model.dam.statistics
    mean_pose = jnp.repeat(model.net.pose_mean[...][None], b, 0)
    poses = {"network": output.pose, "mean": mean_pose, "label": pose}
    states = {
        "network": output.z,
        "mean": jnp.zeros_like(batch["z"]),
        "label": batch["z"],
    }
    meshes = {name: model.dam.decode_vertices(z) for name, z in states.items()}
    meshes["mean"] = jnp.repeat(statistics.vert_mean[...][None], b, 0)

    errors: dict[str, Any] = {}
    seen = jnp.zeros(b, bool)
    for name, predicted in poses.items():
        per_vertex = distance(meshes[name], vertices)
        errors[name] = {
            **model.mesh.regional(per_vertex),
            "pose_px": pose_distance(predicted, pose, vertices),
            "pose_deg": rotation_angle(predicted, pose),
            "z_distance": distance(states[name], batch["z"]),
        }
    if "texture" in batch:
        textures = {
            name: model.dam.decode_texture(
                states[name], view_direction(poses[name]), batch["camera"]
            )
            for name in ("network", "label")
        }
        textures["mean"] = jnp.repeat(statistics.tex_mean[...][None], b, 0)
        truth = unit_range(batch["texture"])
        # Where the capture has a colour, too: at grazing angles it may have none.
        weight = visible_texels(model.mesh.arrays, batch) * (truth > 0).any(-1)
        seen = (weight > 0).any((1, 2))
        for name, texture in textures.items():
            texture = jnp.clip(texture, 0, 1)
            errors[name] |= {
                "texture_difference": colour_difference(texture, truth, weight),
                "texture_mse": squared_colour_difference(texture, truth, weight),
            }
    return {
        "errors": errors,
        "seen": seen,
        "vertex_error": distance(meshes["network"], vertices),
        "z": output.z,
        "pose": output.pose,
    }


def visible_texels(
    mesh: MeshArrays, batch: Mapping[str, Array]
) -> Float[Array, "b t t"]:
    """1 where the view's camera sees the texel on the true mesh, else 0."""
    image = unit_range(batch["image"])
    _, weight = unwrap_frames(
        image, batch["vertices"], batch["pose"], mesh.texel_map, mesh.faces
    )
    return weight


def _means(errors: Arrays, seen: Bool[NDArray, "e"]) -> Row:
    """Means over views; of the texture over those in which some of it is `seen`. No
    number where one view has none. PSNR is that of the mean squared error: a perfect
    view would make a mean of PSNRs infinite."""
    row: Row = {}
    for name, each in errors.items():
        defined = each[seen] if name.startswith("texture") else each
        row[name] = float(defined.astype(np.float64).mean()) if len(defined) else nan
    if "texture_mse" in row:
        row["texture_psnr_db"] = psnr(row.pop("texture_mse"))
    return row
