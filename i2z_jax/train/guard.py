# SPDX-License-Identifier: Apache-2.0
"""Adaptation that never makes things worse: held-out frames judge it (DESIGN 6).

A part of the video is kept out of training: a few runs of consecutive frames, so that
what is judged is not the neighbour of what was learned. Before, during and after the
run the same self-supervised terms are measured on it. The lowest score wins, and
"before" wins unless something is clearly better. Those terms have trivial optima (a
face shrunk to a patch of one colour agrees with itself), so the guard also watches
what collapses on the way there, and ends the run.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2z_jax.errors import require
from i2z_jax.files import write_json
from i2z_jax.types import Bool, Figures

# In a workdir.
GUARD = "guard.json"
# Less of an improvement than this share of the score is none.
MARGIN = 0.01
# Runs of frames that are held out; each is at least this long.
BLOCKS = 5
SHORTEST_BLOCK = 2


# What is measured, in the order of the table.
FIGURES = {
    "score": "score (weighted sum of the terms)",
    "landmarks": "landmark distance, px of 256 (FL)",
    "consistency": "texture of t against t + 1 (CFTC)",
    "appearance": "decoded against observed texture (MOTC)",
    "prior": "squared deviation of z from the lab's",
    "z_spread": "spread of z",
    "visible": "visible share of the texture",
    "texture_range": "contrast of the observed texture",
    "vertex_mm": "true vertex error, mm (not used)",
    "pose_px": "true pose error, px of 256 (not used)",
    "lab_vertex_mm": "vertex error on lab views, mm",
    "lab_pose_px": "pose error on lab views, px of 256",
}


@dataclass(frozen=True)
class Limit:
    """A figure that must not fall below, or rise above, a multiple of "before"."""

    figure: str
    factor: float
    what: str

    def broken(self, before: float, now: float) -> bool:
        """Whether it has."""
        bound = self.factor * before
        return now < bound if self.factor < 1 else now > bound


LIMITS = (
    Limit("z_spread", 0.3, "the face hardly moves any more"),
    Limit("visible", 0.6, "the face has shrunk or turned away"),
    Limit("texture_range", 0.6, "the unwrapped texture has lost its contrast"),
    Limit("landmarks", 1.3, "the landmarks have moved away from the face"),
)


# Share of a video that is held out if nothing else is said.
HELD_OUT = 0.2


def check_share(share: float) -> None:
    """Refuse a share to hold out that leaves too little for one side.

    Raises:
        InputError: it is not above 0, or it is more than a half.
    """
    require(0 < share <= 0.5, "held_out", "above 0, up to 0.5", share)


def judged_frames(frames: int, share: float) -> Bool[np.ndarray, "frames"]:
    """Frames that only the guard sees: `BLOCKS` runs, spread over the video.

    Args:
        frames: of the video.
        share: of them to hold out; shorter videos get fewer and shorter runs.
    """
    blocks = max(1, min(BLOCKS, int(frames * share) // SHORTEST_BLOCK))
    length = max(SHORTEST_BLOCK, round(frames * share / blocks))
    out = np.zeros(frames, bool)
    for block in range(blocks):
        # In the middle of its part of the video.
        start = round((block + 0.5) * frames / blocks - length / 2)
        out[start : start + length] = True
    return out


class Guard:
    """What was measured so far, in WORKDIR/guard.json: resumed runs judge alike.

    Every entry is a function of a step of the run: a run that repeats steps after a
    kill writes the same entries again or, on other devices, others in their place.
    """

    def __init__(self, workdir: Path):
        self._path = workdir / GUARD
        self.history: dict[int, Figures] = {}
        if self._path.exists():
            for step, figures in json.loads(self._path.read_text()).items():
                # What was not finite is null.
                known = {k: np.nan if v is None else v for k, v in figures.items()}
                self.history[int(step)] = known

    @property
    def before(self) -> Figures:
        """Figures of the network that was given."""
        return self.history[0]

    @property
    def best(self) -> int:
        """The step of the lowest score that is not a collapse; 0 is "before"."""
        sound = [step for step in self.history if self.collapse(step) is None]
        step = min(sound, key=lambda step: (self.history[step]["score"], step))
        bound = (1 - MARGIN) * self.before["score"]
        return step if self.history[step]["score"] < bound else 0

    def record(self, step: int, figures: Figures, *, write: bool = True) -> None:
        """Note what was measured after `step` steps.

        What is there of later ones goes: their checkpoints could not be read, and a run
        on other devices may end before it comes to them again.
        """
        earlier = {s: known for s, known in self.history.items() if s < step}
        self.history = {**earlier, step: figures}
        if write:
            write_json(self._path, self.history)

    def collapse(self, step: int) -> str | None:
        """Why the network of `step` counts as collapsed; None if it is sound."""
        now = self.history[step]
        if not np.isfinite(now["score"]):
            return "the score is not finite"
        for limit in LIMITS:
            before, after = self.before[limit.figure], now[limit.figure]
            if limit.broken(before, after):
                return f"{limit.what} ({limit.figure} {before:.4g} -> {after:.4g})"
        return None

    @property
    def first_collapse(self) -> str | None:
        """The one that ended the run, if one did."""
        for step in sorted(self.history):
            if (reason := self.collapse(step)) is not None:
                return f"step {step}: {reason}"
        return None
