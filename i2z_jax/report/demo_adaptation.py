# SPDX-License-Identifier: Apache-2.0
"""The adaptation section of the demo's page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from i2z_jax.evaluate.tables import cell
from i2z_jax.report import demo_pictures as pictures
from i2z_jax.report.page import Block, Plot, Table, Text
from i2z_jax.report.plots import curves
from i2z_jax.train.guard import Guard

# Rows of the table: name, field of `evaluate video`, decimals.
MEASURES = (
    ("mesh, mm", "vertex_mm", 2),
    ("eyes, mm", "eyes_mm", 2),
    ("mouth, mm", "mouth_mm", 2),
    ("jaw, mm", "jaw_mm", 2),
    ("head pose, px of 256", "pose_px", 2),
    ("head pose, degrees", "pose_deg", 2),
    ("landmarks of the mesh, % of the eyes' distance", "nme_percent", 2),
    ("landmarks seen against the mesh's, px", "landmark_residual_px", 2),
    ("change of texture, frame to frame", "cftc_residual", 4),
    ("trembling, px", "jitter_px", 2),
)
# Names of the systems of `evaluate video`, in the order in which it is given them.
SYSTEMS = ("before", "after", "oracle")


def systems(video: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows before, after and of the oracle."""
    return video["rows"][: len(SYSTEMS)]


def verdict(rows: Sequence[dict[str, Any]], kept: int) -> str:
    """What adaptation did, in plain words.

    Args:
        rows: of `evaluate video`: before, after and the oracle.
        kept: the step whose network is the result; 0 is the one that was given.
    """
    before, after = rows[0]["vertex_mm"], rows[1]["vertex_mm"]
    words = (
        f"On frames of the video that nothing was learned from, the mesh was "
        f"{before:.2f} mm from the truth before adaptation and {after:.2f} mm after it "
        f"({_change(before, after)}). In the picture the head's pose was off by "
        f"{rows[0]['pose_px']:.1f} px of 256 before and {rows[1]['pose_px']:.1f} px "
        "after."
    )
    if kept == 0:
        words += (
            " By adaptation's own measure nothing was better on these frames, so the "
            "network that was given was kept."
        )
    words += (
        " Had the video come with true meshes to learn from, which a real one never "
        f"does, the same network would be at {rows[2]['vertex_mm']:.2f} mm (the "
        "oracle)."
    )
    if (share := rows[1]["gap_closed"]) is not None:
        words += f" Of that gap, adaptation closed {100 * share:.0f} %."
    return words


def _change(before: float, after: float) -> str:
    """Difference in percent, in words.

    >>> _change(2.0, 1.5), _change(1.0, 1.1)
    ('25 % less', '10 % more')
    """
    change = 100 * (after / before - 1)
    return f"{abs(change):.0f} % {'less' if change < 0 else 'more'}"


def adaptation(out: Path, video: dict[str, Any]) -> list[Block]:
    """The section, from the reports of adaptation.

    Args:
        out: the demo's folder.
        video: `video.json`, of `evaluate video`.
    """
    rows = systems(video)
    table = Table(
        (f"{rows[0]['frames']} frames", *SYSTEMS),
        [
            (name, *(cell(row.get(key), decimals) for row in rows))
            for name, key, decimals in MEASURES
            if any(row.get(key) is not None for row in rows)
        ],
        "Means over frames that were not learned from. The oracle was taught with the "
        "true meshes of the others: the best to hope for.",
    )
    return [
        Text(
            "A fifth of the video, in five runs of frames, is kept away from "
            "adaptation: what is said here is said of those frames. The guard decides "
            "by the self-supervised terms on them, without truth, which network is "
            "kept."
        ),
        pictures.stored(
            out / "pictures" / "comparison.png",
            "The same frames before and after. Second lines: distance of each vertex "
            "from the truth.",
        ),
        table,
        *_over_the_video(video["frames"]),
        _guard(out),
    ]


def _over_the_video(frames: dict[str, Any]) -> list[Plot]:
    """Errors on every frame; what counts is shaded."""
    times = np.array(frames["time_s"])
    step = float(np.median(np.diff(times)))
    shaded = [(t, t + step) for t in times[np.array(frames["counted"])]]
    plots = []
    for key, label in (("vertex_mm", "mesh error, mm"), ("pose_px", "pose error, px")):
        series = {
            name: np.array(one[key], float)
            for name, one in zip(SYSTEMS, frames["predictors"], strict=False)
            if key in one
        }
        if series:
            markup = curves(times, series, x_label="s", y_label=label, shaded=shaded)
            plots.append(Plot(markup, "Shaded: not learned from."))
    return plots


def _guard(out: Path) -> Plot:
    """The true error while adapting, and what the guard sees of it."""
    history = Guard(out / "adapt").history
    steps = sorted(history)
    first = history[steps[0]]
    names = {
        "score": "score, which decides",
        "landmarks": "landmark distance",
        "vertex_mm": "true mesh error, which it does not know",
    }
    series = {
        label: np.array([history[step][key] / first[key] for step in steps])
        for key, label in names.items()
        if first.get(key)
    }
    kept = adapted(out)["best_step"]
    return Plot(
        curves(
            np.array(steps, float),
            series,
            x_label="steps",
            y_label="held-out frames, before = 1",
        ),
        f"Adaptation as it goes. The network of step {kept} was kept.",
    )


def adapted(out: Path) -> dict[str, Any]:
    """Adaptation's figures for the demo's one video."""
    return json.loads((out / "adapt" / "adaptation.json").read_text())
