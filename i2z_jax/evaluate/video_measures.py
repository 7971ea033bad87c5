# SPDX-License-Identifier: Apache-2.0
"""Predictions of a batch of a video's frames, and their errors."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from i2z_jax.data.landmarks68 import ON_CONTOUR
from i2z_jax.evaluate.metrics import (
    CROP,
    distance,
    landmark_error,
    pose_distance,
    rotation_angle,
)
from i2z_jax.evaluate.predict import FaceModel, MeshTables
from i2z_jax.geometry.camera import project_weak, seen_from_near
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.geometry.unwrap import unwrap_frames
from i2z_jax.losses import landmark_loss
from i2z_jax.models.heatmaps import Landmarks, soft_argmax
from i2z_jax.types import Array, ArrayLike, Float

TRUTH = "ground truth"


class Prediction(NamedTuple):
    """Faces in some frames, as a system has them, or as they truly are."""

    pose: Float[ArrayLike, "b 6"]
    vertices: Float[ArrayLike, "b n 3"]
    z: Float[ArrayLike, "b z"] | None  # the truth has none


class Measured(NamedTuple):
    """What a prediction says of its frames, and how far off it is.

    Attributes:
        predicted: the prediction that was measured.
        flat: its vertices in the crops, [-1, 1].
        texture, seen: what the frames show where it has the face, and where they do.
        vertex_error: mm; None without truth.
        figures: a value a frame, by the metric's name.
    """

    predicted: Prediction
    flat: Float[ArrayLike, "b n 2"]
    texture: Float[ArrayLike, "b t t 3"]
    seen: Float[ArrayLike, "b t t"]
    vertex_error: Float[ArrayLike, "b n"] | None
    figures: dict[str, Float[ArrayLike, "b"]]


def measure(
    models: Mapping[str, FaceModel],
    batch: Mapping[str, Array],
    *,
    size: int,
    known: tuple[str, ...],
    nearness: Float[ArrayLike, ""],
) -> dict[str, Measured]:
    """Each system's faces, against these fields of the truth; and the true ones.

    The nearness is the camera's, 1/mm.
    Not compiled as a whole: systems of one configuration share each part's program.
    """
    predictions, detected = {}, None
    for name, model in models.items():
        predictions[name], seen = _predict(model, batch["image"], size=size)
        detected = seen if detected is None else detected
    mesh = next(iter(models.values())).mesh  # all of them have the same

    def examine(predicted: Prediction, truth: Mapping[str, Array]) -> Measured:
        return _examine(
            mesh, predicted, detected, batch["image"], truth, nearness, size=size
        )

    truth = {name: batch[name] for name in known}
    measured = {name: examine(each, truth) for name, each in predictions.items()}
    if truth:
        true = Prediction(truth["pose"], truth["vertices"], None)
        measured[TRUTH] = examine(true, {})
    return measured


@partial(jax.jit, static_argnames="size")
def _predict(
    model: FaceModel, image: Array, *, size: int
) -> tuple[Prediction, Landmarks | None]:
    """A system's faces; and the landmarks that it sees, if it does."""
    output = model.net(unit_range(image))
    vertices = model.dam.decode_vertices(output.z)
    predicted = Prediction(output.pose, vertices, output.z)
    if output.heatmaps is None:
        return predicted, None
    return predicted, soft_argmax(output.heatmaps, size)


@partial(jax.jit, static_argnames="size")
def _examine(
    mesh: MeshTables,
    predicted: Prediction,
    detected: Landmarks | None,
    image: Array,
    truth: Mapping[str, Array],
    nearness: Float[ArrayLike, ""],
    *,
    size: int,
) -> Measured:
    """What a prediction says of the frames, and how far it is from what is known.

    The nearness is the camera's, 1/mm.
    """
    pose, vertices, _ = predicted
    near = seen_from_near(pose, vertices, nearness)
    texture, seen = unwrap_frames(
        unit_range(image), near, pose, mesh.arrays.texel_map, mesh.arrays.faces
    )
    figures: dict[str, Array] = {}
    points = mesh.landmark_pixels(near, pose, size)
    if points is not None and detected is not None:
        figures["landmark_residual_px"] = _residual(points, detected, size)
    if points is not None and "landmarks" in truth:
        figures["nme_percent"] = 100 * landmark_error(points, truth["landmarks"])
    vertex_error = None
    if truth:
        vertex_error = distance(vertices, truth["vertices"])
        figures |= mesh.regional(vertex_error)
        z = truth.get("z")
        if predicted.z is not None and z is not None and z.shape == predicted.z.shape:
            figures["z_distance"] = distance(predicted.z, z)
        figures["pose_px"] = pose_distance(pose, truth["pose"], truth["vertices"])
        figures["pose_deg"] = rotation_angle(pose, truth["pose"])
    flat = project_weak(pose, vertices)[..., :2]
    return Measured(predicted, flat, texture, seen, vertex_error, figures)


def _residual(points: Array, detected: Landmarks, size: int) -> Float[Array, "b"]:
    """Confidence-weighted distance to the hourglass's landmarks, px of 256; points of
    the jaw's contour slide along it, as they do in adaptation."""
    each = landmark_loss(points, detected.points, jnp.asarray(ON_CONTOUR))
    weight = detected.confidence
    total = jnp.maximum(jnp.sum(weight, -1), 1e-6)
    return jnp.sum(each * weight, -1) / total * (CROP / size)
