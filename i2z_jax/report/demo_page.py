# SPDX-License-Identifier: Apache-2.0
"""`report.html` of the demo: written for readers who have not read the paper.

Everything comes from files that the demo's stages left, so the page can be made again
from a finished folder, in seconds.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from i2z_jax.evaluate.ablation import COLUMNS as ABLATION_COLUMNS
from i2z_jax.evaluate.tables import cell
from i2z_jax.report import demo_pictures as pictures
from i2z_jax.report.demo_adaptation import (
    adaptation,
    adapted,
    systems,
    verdict,
)
from i2z_jax.report.page import (
    Block,
    Code,
    Gallery,
    Head,
    Link,
    Plot,
    Section,
    Table,
    Text,
    Tiles,
    page,
)
from i2z_jax.report.plots import bars, curves

TITLE = "i2z_jax: a face model, from the lab into the wild"
LEAD = (
    "A person who does not exist was filmed on a capture stage, learned, filmed again "
    "with a phone, and tracked, all on this machine and by the commands below."
)
PROBLEM = (
    "A deep appearance model is a photoreal face of one person: a few numbers in, a 3D "
    "mesh and its texture out. It is learned from a stage with many calibrated "
    "cameras. To drive it with one ordinary camera, a second network (I2ZNet) reads "
    "those numbers, and the pose of the head, from a single picture.",
    "That network has only ever seen the stage. In other light, with another camera "
    "and another background it errs, and nobody can label a phone video with 3D "
    "meshes. Self-supervised adaptation needs no labels: the landmarks that a detector "
    "finds, the texture that must be the same from one frame to the next, and the "
    "appearance model itself say where the network is wrong. (Yoon, Shiratori, Yu and "
    "Park, Self-Supervised Adaptation of High-Fidelity Face Models for Monocular "
    "Performance Tracking, CVPR 2019.)",
)


class Step(NamedTuple):
    """A stage as it was run."""

    name: str
    command: str  # what was typed
    seconds: float


def demo_page(out: Path, summary: dict[str, Any], steps: Sequence[Step]) -> str:
    """The page as HTML.

    Args:
        out: the demo's folder, every stage done.
        summary: `summary.json`.
        steps: the stages.
    """
    video = json.loads((out / "video.json").read_text())
    rows = systems(video)
    sections = [
        Section("In short", _short(out, rows, summary)),
        Section("The problem", [Text(text) for text in PROBLEM]),
        Section("1. The lab", _lab(out)),
        Section("2. Learning from it", _learning(out)),
        Section("3. Into the wild", _wild(out)),
        Section("4. Adaptation", adaptation(out, video)),
        Section("5. The face", _face(out)),
    ]
    if (out / "ablation.json").exists():
        sections.append(Section("6. What each part is for", _ablation(out)))
    sections.append(Section("Each step alone", _steps(steps)))
    return page(TITLE, LEAD, sections)


def _short(out: Path, rows: list[dict], summary: dict[str, Any]) -> list[Block]:
    before, after = rows[:2]
    tiles = [
        (f"{before['vertex_mm']:.2f} mm", "mesh error before adaptation"),
        (f"{after['vertex_mm']:.2f} mm", "and after it"),
        (f"{before['pose_px']:.1f} → {after['pose_px']:.1f} px", "head pose error"),
        (f"{summary['minutes_total']:.0f} min", "for all of this"),
        (f"{summary['peak_memory_mib'] / 1024:.1f} GiB", "memory at most"),
    ]
    if (share := rows[1]["gap_closed"]) is not None:
        tiles.insert(2, (f"{100 * share:.0f} %", "of what labels would give"))
    return [Tiles(tiles), Text(verdict(rows, adapted(out)["best_step"]))]


def _lab(out: Path) -> list[Block]:
    return [
        pictures.stage_pictures(out / "capture"),
        Text("Of each moment the stage also knows what follows from many cameras:"),
        Gallery(pictures.model_pictures(out / "capture")),
    ]


def _learning(out: Path) -> list[Block]:
    errors = json.loads((out / "capture.json").read_text())
    table = Table(
        ("predictor", "mesh, mm", "mouth, mm", "head pose, px of 256"),
        [
            (
                row["predictor"],
                cell(row["vertex_mm"], 2),
                cell(row.get("mouth_mm"), 2),
                cell(row["pose_px"], 1),
            )
            for row in errors["rows"]
        ],
        "On expressions that were held out. The mean face knows the person and nothing "
        "of the picture; the decoder given the true state is as good as any network "
        "can be.",
    )
    return [
        Text(
            "Three networks are trained. One finds 68 landmarks, in pictures of other "
            "people and in views of this one. The appearance model learns the "
            "person's meshes and textures. I2ZNet then learns to read the model's "
            "state, and the pose of the head, from one picture, with the landmark "
            "network's maps beside a network that knows pictures in general."
        ),
        pictures.stored(
            out / "pictures" / "seen_test.png",
            "What the network sees in views it has not learned from, and the face that "
            "it reads from them.",
        ),
        table,
        _training(
            out, "landmarks", "nme", "landmark error, share of the eyes' distance"
        ),
        _training(out, "dam", "vertex_mm", "appearance model, mm"),
        _training(out, "regress", "vertices", "I2ZNet, mm"),
    ]


def _training(out: Path, stage: str, metric: str, label: str) -> Plot:
    """A metric over the steps of a stage: on batches, and on held-out examples."""
    text = (out / stage / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    series = {
        name: np.array([line.get(key, np.nan) for line in lines], float)
        for name, key in (("training", metric), ("held out", f"eval/{metric}"))
    }
    series = {name: v for name, v in series.items() if np.isfinite(v).any()}
    steps = np.array([line["step"] for line in lines], float)
    return Plot(curves(steps, series, x_label="steps", y_label=label))


def _wild(out: Path) -> list[Block]:
    return [
        Text(
            "The same person, filmed with a phone: another camera, hard and coloured "
            "light, a background, motion, noise and compression. Because the person is "
            "synthetic the true mesh of every frame is known. It serves to measure; "
            "adaptation never sees it."
        ),
        pictures.frames_of(out / "wild.mp4", 4, "Frames of the video."),
        pictures.lab_and_wild(out / "data"),
    ]


def _face(out: Path) -> list[Block]:
    return [
        Head(
            (out / "tracked" / "mesh.glb").read_bytes(),
            "The tracked face. Drag to turn. tracked/mesh.glb opens in Blender, too.",
        ),
        pictures.frames_of(
            out / "tracked" / "overlay.mp4",
            4,
            "tracked/overlay.mp4: the mesh and its landmarks on the frame, and the "
            "face as the model draws it.",
        ),
        Link("tracked/report.html", "The tracker's own report"),
    ]


def _ablation(out: Path) -> list[Block]:
    report = json.loads((out / "ablation.json").read_text())
    rows = [
        tuple(cell(row[column.name]) for column in ABLATION_COLUMNS)
        for row in report["rows"]
    ]
    header = [column.heading for column in ABLATION_COLUMNS]
    return [
        Text(
            "The published variants of the network, trained alike, and the demo's "
            "own, which reads the landmarks' coordinates, too: how much their answer "
            "changes when only the picture does. Mean distance of the mesh in mm / of "
            "the head's pose in px / of the texture."
        ),
        Table(header, rows, " ".join(report["notes"])),
    ]


def _steps(steps: Sequence[Step]) -> list[Block]:
    minutes = {step.name: step.seconds / 60 for step in steps}
    return [
        Plot(bars(minutes, unit="min"), "Time by stage."),
        Text("Every stage is a command. They are run in this order:"),
        Code("\n".join(step.command for step in steps)),
    ]
