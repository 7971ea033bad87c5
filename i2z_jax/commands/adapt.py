# SPDX-License-Identifier: Apache-2.0
"""`i2z adapt`: a trained network learns an unlabelled video, and is judged on it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from i2z_jax import console
from i2z_jax.errors import require_at_least
from i2z_jax.files import write_json
from i2z_jax.geometry.camera import ARM_LENGTH_MM, nearness_of
from i2z_jax.objectives.adapt import AdaptWeights
from i2z_jax.train.guard import HELD_OUT
from i2z_jax.train.loop import LoopConfig
from i2z_jax.train.optim import OptimizerConfig
from i2z_jax.train.run import RunConfig

RUN = RunConfig(
    batch_size=8,
    loop=LoopConfig(steps=200, log_every=10, save_every=100, evaluate_every=50),
    optimizer=OptimizerConfig(learning_rate=3e-4, warmup_steps=20),
)


@dataclass(frozen=True)
class Config:
    """Adapt a tracker to a video, without labels; the result is WORKDIR/system.

    A part of the video is held out. What is not better on it is not kept: the result
    is then the tracker that was given, and the last line says so. Run the same command
    again to go on after an interruption.
    """

    # A video file or folder of frames, or a built monocular_video.
    video: Path
    # The tracker: what `i2z train regress` or `i2z adapt` left in WORKDIR/system.
    checkpoint: Path
    # Folder of this run: checkpoints, metrics, and the result.
    workdir: Path
    # The capture it was trained on (a built multiview_capture), for replay and for
    # the detector's bias. Optional, and worth having: see docs/adaptation.md.
    data: Path | None = None
    # Boxes for each frame instead of the face detector, as in `i2z data build`.
    boxes: Path | None = None
    # How far the camera is from the face, mm: a phone at arm's length 550, a webcam
    # 700, a capture stage 1000 and more. docs/notes/adaptation.md: what a guess costs.
    distance_mm: float = ARM_LENGTH_MM
    # Share of the video that only the guard sees.
    held_out: float = HELD_OUT
    # Pairs of frames to learn from at most, spread over the video: bounds the memory
    # of the feature cache (4 MB a frame for `paper` in bfloat16).
    pairs: int = 500
    # Lab views to replay; 0: none but those that are drawn into the video.
    replay: int = 256
    # Views of the lab's expressions to draw into the video, with their labels, and to
    # replay beside them; needs --data. 0: none.
    rehearse: int = 256
    # Learn the video's ground truth instead, which only synthetic videos have: the
    # oracle that adaptation is measured against, not a way to adapt.
    supervised: bool = False
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = RUN
    # Weights of the terms.
    weights: AdaptWeights = field(default_factory=AdaptWeights)


def run(config: Config) -> None:
    """Data, run, table, system."""
    from i2z_jax.data.pipeline import VideoFrames
    from i2z_jax.data.records import MULTIVIEW, VIDEO
    from i2z_jax.sharding import is_first_process
    from i2z_jax.system import load_system, save_system
    from i2z_jax.train.adapt import adapt
    from i2z_jax.train.adapt_data import (
        check_capture,
        check_length,
        check_system,
        prepare,
    )
    from i2z_jax.train.adapt_video import built_video
    from i2z_jax.train.guard import check_share
    from i2z_jax.train.run import run_mesh
    from i2z_jax.train.workdir import hold, remember_config, remember_data

    check_share(config.held_out)
    require_at_least(config, {"pairs": 1, "replay": 0, "rehearse": 0})
    nearness = nearness_of(config.distance_mm)
    system = load_system(config.checkpoint, dtype=config.run.compute_dtype)
    check_system(system, config.checkpoint)
    if config.data is not None:
        check_capture(system, config.data)
    mesh = run_mesh(config.run)
    with hold(config.workdir):
        remember_config(config.workdir, config)
        video = built_video(
            config.video,
            config.workdir,
            boxes=config.boxes,
            crop_size=system.image_size,
        )
        check_length(VideoFrames(video), config.video)
        remember_data(config.workdir, {VIDEO: video, MULTIVIEW: config.data})
        data = prepare(
            system,
            video,
            config.data,
            nearness=nearness,
            share_held_out=config.held_out,
            most_pairs=config.pairs,
            replayed=config.replay,
            rehearsed=config.rehearse,
            seed=config.run.seed,
            dtype=config.run.compute_dtype,
            mesh=mesh,
        )
        outcome = adapt(
            system,
            data,
            workdir=config.workdir,
            config=config.run,
            weights=config.weights,
            mesh=mesh,
            supervised=config.supervised,
        )
        if outcome is None:
            return
        save_system(config.workdir / "system", outcome.system, overwrite=True)
        if is_first_process():
            write_json(config.workdir / "adaptation.json", outcome.report())
        show(outcome)
        console.out.print(str(config.workdir / "system"))


def show(outcome) -> None:
    """The before/after table and the verdict."""
    from rich.table import Table

    from i2z_jax.train.guard import FIGURES

    table = Table("held-out frames", "before", "after", "change")
    for name, meaning in FIGURES.items():
        if name in outcome.before:
            before, after = outcome.before[name], outcome.after[name]
            change = f"{100 * (after / before - 1):+.1f} %" if before else ""
            table.add_row(meaning, f"{before:.4g}", f"{after:.4g}", change)
    console.out.print(table)
    if outcome.collapse is not None:
        console.out.print(f"stopped at {outcome.collapse}")
    if outcome.best_step == 0:
        console.out.print("no better on the held-out frames: the network given is kept")
    else:
        console.out.print(f"the network of step {outcome.best_step} is kept")
