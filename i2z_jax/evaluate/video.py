# SPDX-License-Identifier: Apache-2.0
"""A built video: against ground truth where there is some, and against itself.

Without truth three things can be measured (DESIGN section 10): whether the mesh's
landmarks lie where the frozen hourglass sees them (*landmark residual*), whether
consecutive frames show one texture (*CFTC residual*), and how much the result shakes
(*jitter*). Where there is truth it takes part as a predictor of its own: its row says
how small these three can be.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.data.batches import Example
from i2z_jax.data.landmarks68 import ON_CONTOUR
from i2z_jax.data.pipeline import VideoFrames
from i2z_jax.data.warp import sample_crop
from i2z_jax.errors import InputError
from i2z_jax.evaluate.metrics import (
    CROP,
    distance,
    landmark_error,
    pose_distance,
    rotation_angle,
)
from i2z_jax.evaluate.predict import (
    FaceModel,
    MeshTables,
    Rows,
    Runner,
    face_model,
)
from i2z_jax.evaluate.tables import Column, Row
from i2z_jax.evaluate.temporal import Watch, frame_facts
from i2z_jax.geometry.camera import bring_near, near_anchor, project_weak
from i2z_jax.geometry.unwrap import unwrap_frames
from i2z_jax.losses import landmark_loss
from i2z_jax.models.heatmaps import Landmarks, soft_argmax
from i2z_jax.objectives.landmarks import unit_range
from i2z_jax.system import System
from i2z_jax.types import Array, ArrayLike, Bool, Float, NDArray

TRUTH = "ground truth"

COLUMNS = (
    Column("predictor", "predictor"),
    Column("frames", "frames"),
    Column("vertex_mm", "vertices\nmm"),
    Column("eyes_mm", "eyes\nmm"),
    Column("mouth_mm", "mouth\nmm"),
    Column("jaw_mm", "jaw\nmm"),
    Column("pose_px", "pose\npx of 256", 2),
    Column("pose_deg", "pose\ndeg", 2),
    Column("nme_percent", "mesh NME %\ninter-ocular", 2),
    Column("landmark_residual_px", "landmark\nresidual px", 2),
    Column("cftc_residual", "CFTC\nresidual", 4),
    Column("jitter_px", "jitter\npx of 256", 3),
    Column("jitter_mm", "jitter\nmm", 3),
    Column("gap_closed", "gap\nclosed", 3),
)


class VideoScores(NamedTuple):
    """What a video gave.

    Attributes:
        rows: a row of the table for each system, and for the ground truth: means over
            the frames that count.
        frames: per predictor and metric a value a frame, NaN where it is undefined:
            the first frames of a take have no jitter.
        poses, states: per predictor, of each frame; the truth has no state.
        vertex_error: per system the mean error at each vertex over the frames that
            count, mm; with truth only.
        source: the frames.
        time_s: of each frame, in its own video.
        counted: the frames that count.
        nearness: of the camera, 1/mm.
    """

    rows: list[Row]
    frames: dict[str, dict[str, Float[NDArray, "e"]]]
    poses: dict[str, Float[NDArray, "e 6"]]
    states: dict[str, Float[NDArray, "e z"]]
    vertex_error: dict[str, Float[NDArray, "n"]]
    source: VideoFrames
    time_s: Float[NDArray, "e"]
    counted: Bool[NDArray, "e"]
    nearness: float


def evaluate_video(
    systems: Mapping[str, System],
    directory: str | Path,
    runner: Runner,
    *,
    nearness: float = 0.0,
    counted: Bool[NDArray, "e"] | None = None,
) -> VideoScores:
    """Errors, residuals and jitter of systems on a built monocular video.

    Every frame is measured: a curve over the video shows what was learned from beside
    what was not.

    Args:
        systems: by the name of their row.
        nearness: of the video's camera, 1/mm: what is seen in a frame is looked up
            with its perspective, as in adaptation.
        counted: the frames that means are taken over; all by default.

    Raises:
        InputError: no frames, ground truth of another mesh, or systems that differ in
            mesh or crop size.
    """
    first = _alike(systems)
    source = VideoFrames(directory, truth=True)
    counted = np.ones(len(source), bool) if counted is None else counted
    if not counted.any():
        raise InputError("no frames to measure", where=directory)
    facts = frame_facts(source)
    if facts.truth:
        _require_mesh(source[0]["vertices"], first, directory)
    size = first.image_size
    texture_size = min(first.dam_card.config.texture_size, size)
    models = runner.place({n: face_model(s, texture_size) for n, s in systems.items()})

    names = [*systems, *([TRUTH] if facts.truth else [])]
    watches = {name: Watch(facts) for name in names}
    vertex_error = {name: np.zeros(first.topology.vertex_count) for name in systems}
    measured: dict[str, dict[str, list]] = {name: {} for name in names}
    batches = runner.rows(
        source,
        partial(
            _measure,
            size=size,
            truth=facts.truth,
            nearness=np.array(nearness, np.float32),
        ),
        models,
        what=Path(directory).name,
        change=partial(resized, size=size),
    )
    for batch, result in batches:
        weight = counted[batch["index"]] / counted.sum()
        for name, values in result.items():
            temporal = watches[name].see(
                values.pop("vertices"),
                values.pop("flat"),
                values.pop("texture"),
                values.pop("seen"),
            )
            if name in vertex_error and facts.truth:
                vertex_error[name] += weight @ values.pop("vertex_error")
            for metric, value in (values | temporal).items():
                measured[name].setdefault(metric, []).append(value)
    frames_of: dict[str, dict[str, Any]] = {
        name: {metric: np.concatenate(v) for metric, v in metrics.items()}
        for name, metrics in measured.items()
    }
    poses = {name: values.pop("pose") for name, values in frames_of.items()}
    states = {name: frames_of[name].pop("z") for name in systems}
    if not facts.landmarks:
        for values in frames_of.values():
            values.pop("nme_percent", None)
    rows = [
        {
            "predictor": name,
            "frames": int(counted.sum()),
            **_means(frames_of[name], counted),
        }
        for name in names
    ]
    return VideoScores(
        rows,
        frames_of,
        poses,
        states,
        vertex_error if facts.truth else {},
        source,
        facts.time_s,
        counted,
        nearness,
    )


def frame_table(scores: VideoScores) -> dict[str, Any]:
    """What was measured on every frame, as JSON: lists with a value a frame."""
    return {
        "time_s": scores.time_s.tolist(),
        "counted": scores.counted.tolist(),
        "predictors": [
            {"predictor": name, **{m: _rounded(v) for m, v in metrics.items()}}
            for name, metrics in scores.frames.items()
        ],
    }


def _rounded(values: Float[NDArray, "e"]) -> list[float]:
    """Six digits: what float32 has."""
    return [float(f"{value:.6g}") for value in values]


def _alike(systems: Mapping[str, System]) -> System:
    """One of the systems, when they can be compared."""
    first, *others = systems.values()
    for other in others:
        for what, ours, theirs in (
            ("crop sizes", first.image_size, other.image_size),
            (
                "numbers of vertices",
                first.topology.vertex_count,
                other.topology.vertex_count,
            ),
        ):
            if ours != theirs:
                raise InputError(
                    f"the checkpoints have different {what}",
                    expected=ours,
                    got=theirs,
                    fix="evaluate them one by one",
                )
    return first


def _require_mesh(vertices: NDArray, system: System, where: str | Path) -> None:
    if len(vertices) != system.topology.vertex_count:
        raise InputError(
            "the ground truth is of another mesh than the checkpoint",
            where=where,
            expected=f"{system.topology.vertex_count} vertices",
            got=len(vertices),
            fix="evaluate a checkpoint of the person in the video",
        )


def resized(example: Example, rng: np.random.Generator, *, size: int) -> Example:
    """A frame's crop at the network's size, landmarks with it; H is in [-1, 1]."""
    stored = example["image"].shape[0]
    scale = np.array([[size / stored, 0.0, 0.0], [0.0, size / stored, 0.0]])
    return {
        **example,
        "image": sample_crop(example["image"], scale, size),
        "landmarks": np.float32(example["landmarks"] * (size / stored)),
    }


def _measure(
    models: Mapping[str, FaceModel],
    batch: Mapping[str, Array],
    *,
    size: int,
    truth: bool,
    nearness: Float[ArrayLike, ""],
) -> Rows:
    """Per predictor: meshes, textures and errors of each frame.

    Not compiled as a whole: systems of one configuration share each part's program.
    """
    result: dict[str, dict[str, Array]] = {}
    detected = None
    for name, model in models.items():
        result[name], seen = _predict(model, batch["image"], size=size)
        detected = seen if detected is None else detected
    mesh = next(iter(models.values())).mesh  # all of them have the same
    examine = partial(_examine, mesh, size=size, nearness=nearness)
    for name, predicted in result.items():
        result[name] |= examine(predicted, detected, batch, truth=truth)
    if truth:
        known = {name: batch[name] for name in ("pose", "vertices")}
        result[TRUTH] = known | examine(known, detected, batch, truth=False)
    return result


@partial(jax.jit, static_argnames="size")
def _predict(model: FaceModel, image: Array, *, size: int):
    """A system's state, pose and mesh; and the landmarks that it sees, if it does."""
    output = model.net(unit_range(image))
    vertices = model.dam.decode_vertices(output.z)
    predicted = {"z": output.z, "pose": output.pose, "vertices": vertices}
    if output.heatmaps is None:
        return predicted, None
    return predicted, soft_argmax(output.heatmaps, size)


@partial(jax.jit, static_argnames=("size", "truth"))
def _examine(
    mesh: MeshTables,
    predicted: Mapping[str, Array],
    detected: Landmarks | None,
    batch: Mapping[str, Array],
    *,
    size: int,
    truth: bool,
    nearness: Float[ArrayLike, ""],
) -> dict[str, Array]:
    """What a prediction says of the frames, and with `truth` how far off it is."""
    pose, vertices = predicted["pose"], predicted["vertices"]
    found: dict[str, Array] = {"flat": project_weak(pose, vertices)[..., :2]}
    near = bring_near(pose, vertices, nearness, near_anchor(pose, vertices))
    found["texture"], found["seen"] = unwrap_frames(
        unit_range(batch["image"]), near, pose, mesh.texel_map, mesh.faces
    )
    points = mesh.landmarks(near, pose, size)
    if points is not None and detected is not None:
        found["landmark_residual_px"] = _residual(points, detected, size)
    if points is not None and truth:
        error = landmark_error(points, batch["landmarks"])
        found["nme_percent"] = 100 * error
    if truth:
        per_vertex = distance(vertices, batch["vertices"])
        found["vertex_error"] = per_vertex
        found |= mesh.regional(per_vertex)
        found["pose_px"] = pose_distance(pose, batch["pose"], batch["vertices"])
        found["pose_deg"] = rotation_angle(pose, batch["pose"])
    return found


def _residual(points: Array, detected: Landmarks, size: int) -> Float[Array, "b"]:
    """Confidence-weighted distance to the hourglass's landmarks, px of 256; points of
    the jaw's contour slide along it, as they do in adaptation."""
    each = landmark_loss(points, detected.points, jnp.asarray(ON_CONTOUR))
    weight = detected.confidence
    total = jnp.maximum(jnp.sum(weight, -1), 1e-6)
    return jnp.sum(each * weight, -1) / total * (CROP / size)


def _means(
    values: Mapping[str, Float[NDArray, "e"]], counted: Bool[NDArray, "e"]
) -> Row:
    """Means over the frames that count and for which a metric is defined; None where
    there is none."""
    row: Row = {}
    for name, each in values.items():
        defined = each[counted & np.isfinite(each)].astype(np.float64)
        row[name] = float(defined.mean()) if len(defined) else None
    return row
