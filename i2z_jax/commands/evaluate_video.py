# SPDX-License-Identifier: Apache-2.0
"""`i2z evaluate video`: errors, residuals and jitter on a built video."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from i2z_jax.commands.evaluate_options import EvaluateOptions
from i2z_jax.geometry.camera import ARM_LENGTH_MM, nearness_of


@dataclass(frozen=True)
class Config:
    """Trackers on a video: against ground truth where there is some, and in itself.

    Give the checkpoint before adaptation first, then those after it; with --oracle
    the table says which share of the gap to it they closed.
    """

    # Trackers: WORKDIR/system of `i2z train regress` or `i2z adapt`.
    checkpoints: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="CHECKPOINT [CHECKPOINT ...]"),
    ]
    # A built monocular_video.
    data: Path
    # How far the camera is from the face, mm, as for `i2z adapt`.
    distance_mm: float = ARM_LENGTH_MM
    # The same network fine-tuned on the video's ground truth: the best to hope for.
    oracle: Path | None = None
    # Take the means over the frames that `i2z adapt --held-out` kept out, with the same
    # share here; 0 takes all. By default 0, and with --oracle what `adapt` has by
    # default: its gap is of frames that nobody learned from. The JSON has every frame's
    # figures either way.
    held_out: float | None = None
    options: Annotated[EvaluateOptions, tyro.conf.arg(name="")] = field(
        default_factory=EvaluateOptions
    )


def run(config: Config) -> None:
    """Systems, one pass, table."""
    from i2z_jax.commands.evaluate_options import finish, start
    from i2z_jax.data.pipeline import VideoFrames
    from i2z_jax.errors import InputError
    from i2z_jax.evaluate import video
    from i2z_jax.evaluate.metrics import gap_closed
    from i2z_jax.evaluate.tables import Report
    from i2z_jax.evaluate.video_pictures import comparison_picture, video_pictures
    from i2z_jax.system import load_system
    from i2z_jax.train import guard

    nearness = nearness_of(config.distance_mm)
    held_out = config.held_out
    if held_out is None:
        held_out = guard.HELD_OUT if config.oracle is not None else 0.0
    if held_out:
        guard.check_share(held_out)
    runner = start(config.options)
    folders = {str(path): path for path in config.checkpoints}
    if config.oracle is not None:
        folders["oracle"] = config.oracle
    if not config.checkpoints:
        raise InputError("no checkpoint", fix="give WORKDIR/system of a training run")
    clip, counted = VideoFrames(config.data), None
    if config.oracle is not None and not clip.record(0)["has_truth"]:
        raise InputError(
            "the video has no ground truth to compare with an oracle on",
            where=config.data,
            fix="leave --oracle out",
        )
    if held_out:
        counted = guard.judged_frames(len(clip), held_out)
    systems = {name: load_system(path) for name, path in folders.items()}
    scores = video.evaluate_video(
        systems, config.data, runner, nearness=nearness, counted=counted
    )
    rows = scores.rows
    if config.oracle is not None:
        # The last row is the truth's own, without an error.
        before, oracle = rows[0]["vertex_mm"], rows[-2]["vertex_mm"]
        for row in rows[1:-2]:
            row["gap_closed"] = gap_closed(before, row["vertex_mm"], oracle)

    def draw(folder: Path) -> list[Path]:
        saved = []
        for number, (name, system) in enumerate(systems.items(), 1):
            file = "oracle" if name == "oracle" else f"checkpoint_{number}"
            saved += video_pictures(name, system, scores, folder, file)
        labels = dict(zip(folders, _labels(len(config.checkpoints)), strict=False))
        labels |= {"oracle": "oracle"}
        saved.append(comparison_picture(systems, scores, folder, labels))
        return saved

    report = Report(
        "evaluate video",
        {
            "checkpoints": [str(path) for path in config.checkpoints],
            "oracle": str(config.oracle) if config.oracle else None,
            "data": str(config.data),
            "held_out": held_out,
            "distance_mm": config.distance_mm,
        },
        rows,
        [
            f"Means over the frames that `i2z adapt --held-out {held_out:g}` keeps out."
            if held_out
            else "Means over all frames, those that a network learned from included.",
            "Landmark residual: to the hourglass's points, weighted with confidence. "
            "CFTC residual: mean |colour difference| of consecutive frames' textures "
            "where both are visible. Jitter: mean |x(t-1) - 2 x(t) + x(t+1)| of the "
            "vertices, which motion has too: see the ground truth's where there is "
            "one.",
        ],
        video.frame_table(scores),
    )
    finish(config.options, report, video.COLUMNS, draw)


def _labels(checkpoints: int) -> list[str]:
    """Before adaptation, and after; one alone is just a network."""
    if checkpoints == 1:
        return ["network"]
    after = [f"after ({n})" for n in range(1, checkpoints)]
    return ["before", *(after if checkpoints > 2 else ["after"])]
