# SPDX-License-Identifier: Apache-2.0
"""Absolute errors on a built capture, where everything is known (DESIGN section 10).

Three predictors on every view: the network; the *mean face*, which is what knowing the
person and nothing of the picture gives; and the *true state*, the decoder fed with the
labels, which no network can beat by much: its error is the decoder's own.

Colours are compared twice: texel by texel, where the camera sees the true mesh, and on
the screen, where a face in the wrong place has wrong colours too.
"""

from collections.abc import Mapping
from functools import partial
from math import nan
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.data.augment import resized_view
from i2z_jax.data.capture_source import capture_nearness, only_source
from i2z_jax.data.pipeline import ViewField, Views
from i2z_jax.data.records import MULTIVIEW, description, has_view_textures
from i2z_jax.errors import InputError
from i2z_jax.evaluate.metrics import (
    colour_difference,
    distance,
    multiface_texture_mse,
    multiface_vertex_mse,
    pose_distance,
    psnr,
    rotation_angle,
    squared_colour_difference,
)
from i2z_jax.evaluate.predict import (
    Arrays,
    FaceModel,
    MeshTables,
    Runner,
    face_model,
    require_same_mesh,
    stacked,
)
from i2z_jax.evaluate.screen import draw_faces, pixel_weights
from i2z_jax.evaluate.tables import Column, Row
from i2z_jax.evaluate.texel_weights import texel_weights
from i2z_jax.geometry.camera import view_direction
from i2z_jax.geometry.mesh_arrays import MeshArrays
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.geometry.unwrap import unwrap_frames
from i2z_jax.system import System
from i2z_jax.train.labels import encode_frames
from i2z_jax.types import Array, Bool, Example, Float, Int, NDArray

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
    Column("screen_psnr_db", "screen\nPSNR dB", 2),
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
        frames: the frame of each view.
        source: the views, for who wants to look at some.
        nearness: of the capture's cameras, 1/mm.
    """

    rows: list[Row]
    vertex_error: Float[NDArray, "n"]
    each: Float[NDArray, "e"]
    z: Float[NDArray, "e z"]
    pose: Float[NDArray, "e 6"]
    frames: Int[NDArray, "e"]
    source: Views
    nearness: float


class Known(NamedTuple):
    """What the step knows beside the batch."""

    model: FaceModel
    texel_weights: dict[str, Float[Array, "t t"]]
    # Of the capture's cameras, 1/mm.
    nearness: Float[Array, ""]
    # The capture's `vert_var`, mm².
    vertex_variance: Float[Array, ""]


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
    texture_mask: Float[NDArray, "t t"] | None = None,
) -> CaptureScores:
    """Errors of a system on a split of a built multiview capture.

    Args:
        z: of every frame, from `capture_labels`.
        texture_mask: how much texels count, from `read_texture_mask`.

    Raises:
        InputError: no such split, or nothing in it; a mask for no textures.
    """
    fields: tuple[ViewField, ...] = ("image", "vertices")
    if has_view_textures(directory):  # their size was checked with the labels
        fields = (*fields, "texture")
    elif texture_mask is not None:
        raise InputError(
            "no textures of views to weight with --texture-mask",
            where=directory,
            fix="build without --no-view-textures, or leave the mask out",
        )
    source = Views(directory, split, fields=fields, tables={"z": z})
    if not len(source):
        raise InputError("no examples in this split", where=directory, got=split)
    model, nearness = face_model(system), capture_nearness(directory)
    known = Known(
        model,
        texel_weights(model.mesh, texture_mask),
        jnp.float32(nearness),
        jnp.float32(only_source(directory).statistics.vertex_variance),
    )
    crop = partial(_with_picture, size=system.image_size)

    parts: list[Arrays] = []
    vertex_error = np.zeros(system.topology.vertex_count)
    what = f"{Path(directory).name} {split}"
    batches = runner.rows(source, _measure, runner.place(known), what=what, change=crop)
    for batch, result in batches:
        vertex_error += result.pop("vertex_error").astype(np.float64).sum(0)
        parts.append({**result, "frames": batch["frame_index"]})
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
        result["frames"],
        source,
        nearness,
    )


def _with_picture(example: Example, rng: np.random.Generator, *, size: int) -> Example:
    """The network's crop, and the dataset's, in which faces are drawn: what is compared
    there shall not depend on the network's size. H is the same in both."""
    return {**resized_view(example, rng, size=size), "picture": example["image"]}


class _Faces(NamedTuple):
    """What a predictor says of the views of a batch."""

    z: Float[Array, "b z"]
    pose: Float[Array, "b 6"]
    vertices: Float[Array, "b n 3"]
    texture: Float[Array, "b t t 3"] | None  # not clipped; None: nothing to compare


def _measure(known: Known, batch: Mapping[str, Array]) -> Arrays:
    """Errors of the three predictors, a row a view.

    Not compiled as a whole: one program draws all faces. The networks go to one of its
    parts alone: nnx takes them apart in every call.
    """
    faces = _predicted(known.model, batch)
    mesh = known.model.mesh
    errors, seen = _errors(mesh, known.vertex_variance, batch, faces), {}
    if "texture" in batch:
        size = batch["picture"].shape[1]
        camera = mesh.arrays, known.nearness
        screen = {
            name: draw_faces(face.pose, face.vertices, face.texture, *camera, size=size)
            for name, face in faces.items()
        }
        # What the camera did not see, as beyond the edge of its picture, has no colour.
        of_texels = known.texel_weights["texture"][None] * batch["texture"].any(-1)
        weight = pixel_weights(
            batch["pose"], batch["vertices"], of_texels, *camera, size=size
        )
        colours, seen = _colour_errors(
            mesh.arrays, known.texel_weights, batch, faces, screen, weight
        )
        errors = {name: each | colours[name] for name, each in errors.items()}
    return {
        "errors": errors,
        "seen": seen,
        "vertex_error": distance(faces["network"].vertices, batch["vertices"]),
        "z": faces["network"].z,
        "pose": faces["network"].pose,
    }


@jax.jit
def _predicted(model: FaceModel, batch: Mapping[str, Array]) -> dict[str, _Faces]:
    """By predictor."""
    compares = "texture" in batch

    def decoded(z: Array, pose: Array) -> _Faces:
        texture = None
        if compares:
            texture = model.dam.decode_texture(z, view_direction(pose), batch["camera"])
        return _Faces(z, pose, model.dam.decode_vertices(z), texture)

    output = model.net(unit_range(batch["image"]))
    statistics = model.dam.statistics
    mean = _Faces(
        jnp.zeros_like(output.z[0]),
        model.net.pose_mean[...],
        statistics.vert_mean[...],
        statistics.tex_mean[...] if compares else None,
    )
    each = len(output.z)
    return {
        "network": decoded(output.z, output.pose),
        "mean": jax.tree.map(lambda x: jnp.repeat(x[None], each, 0), mean),
        "label": decoded(batch["z"], batch["pose"]),
    }


@jax.jit
def _errors(
    mesh: MeshTables,
    vertex_variance: Float[Array, ""],
    batch: Mapping[str, Array],
    faces: Mapping[str, _Faces],
) -> dict[str, Arrays]:
    """Of mesh, pose and z, by predictor."""
    pose, vertices = batch["pose"], batch["vertices"]
    return {
        name: {
            **mesh.regional(distance(face.vertices, vertices)),
            "multiface_vertex_mse": multiface_vertex_mse(
                face.vertices, vertices, vertex_variance
            ),
            "pose_px": pose_distance(face.pose, pose, vertices),
            "pose_deg": rotation_angle(face.pose, pose),
            "z_distance": distance(face.z, batch["z"]),
        }
        for name, face in faces.items()
    }


@jax.jit
def _colour_errors(
    mesh: MeshArrays,
    texel_weights: Mapping[str, Float[Array, "t t"]],
    batch: Mapping[str, Array],
    faces: Mapping[str, _Faces],
    screen: Mapping[str, Float[Array, "b h h 3"]],
    pixel_weight: Float[Array, "b h h"],
) -> tuple[dict[str, Arrays], Arrays]:
    """Errors by predictor, and of which of them a view shows something."""
    picture, truth = unit_range(batch["picture"]), unit_range(batch["texture"])
    # Where the capture has a colour, too: at grazing angles it may have none.
    visible = visible_texels(mesh, batch) * (truth > 0).any(-1)
    weights = {name: visible * of[None] for name, of in texel_weights.items()}
    errors = {}
    for name, face in faces.items():
        texture = jnp.clip(face.texture, 0, 1)
        squared = {
            figure: squared_colour_difference(texture, truth, weight)
            for figure, weight in weights.items()
        }
        squared["screen"] = squared_colour_difference(
            screen[name], picture, pixel_weight
        )
        errors[name] = {
            "texture_difference": colour_difference(texture, truth, weights["texture"]),
            "multiface_texture_mse": multiface_texture_mse(face.texture, truth),
            **{f"{figure}_squared": each for figure, each in squared.items()},
        }
    shown = {**weights, "screen": pixel_weight}
    seen = {f"{name}_squared": (x > 0).any((1, 2)) for name, x in shown.items()}
    return errors, {**seen, "texture_difference": seen["texture_squared"]}


def visible_texels(
    mesh: MeshArrays, batch: Mapping[str, Array]
) -> Float[Array, "b t t"]:
    """1 where the view's camera sees the texel on the true mesh, else 0."""
    image = unit_range(batch["image"])
    _, weight = unwrap_frames(
        image, batch["vertices"], batch["pose"], mesh.texel_map, mesh.faces
    )
    return weight


def _means(errors: Arrays, seen: Mapping[str, Bool[NDArray, "e"]]) -> Row:
    """Means over views; of what is not `seen` in every view, such as the eyes' texture,
    over those in which some of it is. No number where one view has none. PSNR is that
    of the mean squared error: a perfect view would make a mean of PSNRs infinite."""
    row: Row = {}
    for name, each in errors.items():
        defined = each[seen[name]] if name in seen else each
        mean = float(defined.astype(np.float64).mean()) if len(defined) else nan
        if name.endswith("_squared"):
            row[name.removesuffix("squared") + "psnr_db"] = psnr(mean)
        else:
            row[name] = mean
    return row
