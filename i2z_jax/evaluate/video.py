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

import numpy as np

from i2z_jax.data.batches import Example
from i2z_jax.data.pipeline import VideoFrames
from i2z_jax.data.warp import resized
from i2z_jax.errors import InputError
from i2z_jax.evaluate.predict import Runner, face_model
from i2z_jax.evaluate.tables import Column, Row
from i2z_jax.evaluate.temporal import TEMPORAL, FrameFacts, Watch, frame_facts
from i2z_jax.evaluate.video_measures import TRUTH, Measured, measure
from i2z_jax.system import System
from i2z_jax.types import Bool, Float, Int, NDArray

COLUMNS = (
    Column("predictor", "predictor"),
    Column("frames", "frames"),
    Column("vertex_mm", "vertices\nmm"),
    Column("eyes_mm", "eyes\nmm"),
    Column("mouth_mm", "mouth\nmm"),
    Column("jaw_mm", "jaw\nmm"),
    Column("z_distance", "z\ndistance"),
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
    batches = runner.rows(
        source,
        partial(
            measure,
            size=size,
            known=_known_fields(facts),
            nearness=np.array(nearness, np.float32),
        ),
        runner.place({n: face_model(s, texture_size) for n, s in systems.items()}),
        what=Path(directory).name,
        change=partial(_resized, size=size, z=facts.z_size > 0),
    )

    names = [*systems, *([TRUTH] if facts.truth else [])]
    tallies = {name: _Tally(facts, counted) for name in names}
    for batch, measured in batches:
        for name, tally in tallies.items():
            tally.add(batch["index"], measured[name])

    frames = {name: tally.frames() for name, tally in tallies.items()}
    count = int(counted.sum())
    return VideoScores(
        [
            {"predictor": name, "frames": count, **_means(frames[name], counted)}
            for name in names
        ],
        frames,
        {name: np.concatenate(tallies[name].poses) for name in names},
        {name: np.concatenate(tallies[name].states) for name in systems},
        {name: tallies[name].vertex_error for name in systems} if facts.truth else {},
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


def _resized(
    example: Example, rng: np.random.Generator, *, size: int, z: bool
) -> Example:
    """A frame's crop at the network's size, landmarks with it; H is in [-1, 1]. Frames
    of which some have no z, or another decoder's, are given without."""
    scale = size / example["image"].shape[0]
    return {
        **{name: x for name, x in example.items() if z or name != "z"},
        "image": resized(example["image"], size),
        "landmarks": np.float32(example["landmarks"] * scale),
    }


def _known_fields(facts: FrameFacts) -> tuple[str, ...]:
    """The fields of the truth."""
    if not facts.truth:
        return ()
    has = {"landmarks": facts.landmarks, "z": facts.z_size > 0}
    return ("pose", "vertices", *(name for name, there in has.items() if there))


class _Tally:
    """What was measured of one predictor, batch after batch.

    Attributes:
        poses, states: of the frames, a part a batch.
        vertex_error: mean at each vertex over the frames that count, where there is
            truth.
    """

    def __init__(self, facts: FrameFacts, counted: Bool[NDArray, "e"]):
        self.poses: list[Float[NDArray, "b 6"]] = []
        self.states: list[Float[NDArray, "b z"]] = []
        self.vertex_error: Any = 0.0
        self._figures: dict[str, list[NDArray]] = {}
        self._watch = Watch(facts)
        self._weight = counted / counted.sum()

    def add(self, index: Int[NDArray, "b"], found: Measured) -> None:
        """The next frames, which have these numbers."""
        pose, vertices, z = found.predicted
        temporal = self._watch.see(vertices, found.flat, found.texture, found.seen)
        for name, values in (found.figures | temporal).items():
            self._figures.setdefault(name, []).append(values)
        self.poses.append(pose)
        if z is not None:
            self.states.append(z)
        if found.vertex_error is not None:
            self.vertex_error += self._weight[index] @ found.vertex_error

    def frames(self) -> dict[str, Float[NDArray, "e"]]:
        """The figures of all frames."""
        return {name: np.concatenate(parts) for name, parts in self._figures.items()}


def _means(
    values: Mapping[str, Float[NDArray, "e"]], counted: Bool[NDArray, "e"]
) -> Row:
    """Means over the frames that count and for which a metric is defined; None where
    there is none, NaN where a prediction is no number."""
    row: Row = {}
    for name, each in values.items():
        partly = name in TEMPORAL or name == "nme_percent"
        defined = each[counted & (np.isfinite(each) | (not partly))].astype(np.float64)
        row[name] = float(defined.mean()) if len(defined) else None
    return row
