# SPDX-License-Identifier: Apache-2.0
"""Running `i2z track` in this process, and reading what it leaves."""

import numpy as np

from tests.command_line import i2z
from tests.data.clips import write_clip
from tests.track import worlds


def track(video, checkpoint, out, *more: object) -> int:
    """The command's exit status, whatever confidence its landmarks have."""
    words = ["track", video, "--checkpoint", checkpoint, "--out", out]
    return i2z(*words, "--min-confidence", 0, "--batch-size", 4, *more)


def values(out) -> dict[str, np.ndarray]:
    """All of its `track.npz`."""
    with np.load(out / "track.npz", allow_pickle=False) as file:
        return dict(file)


def statuses(out) -> list[str]:
    """The name of every frame's status."""
    found = values(out)
    return found["status_names"][found["status"]].tolist()


def plain(path) -> None:
    """A clip without a face."""
    write_clip(path, [worlds.picture(0, 0, 0)] * 3)
