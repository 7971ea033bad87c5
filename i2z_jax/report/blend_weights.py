# SPDX-License-Identifier: Apache-2.0
"""Weights of blend shapes over a video, as a table that animation tools read."""

import csv
from pathlib import Path

from i2z_jax.report.morphs import Morphs
from i2z_jax.track.result import Track


def write_weights(path: Path, track: Track, named: Morphs) -> None:
    """Write `frame,time_s,error_mm,NAME,...`: a row for every frame.

    The cells of a frame without a face are empty. `error_mm` is the mean distance of
    the vertices that the weights give from the tracked ones.

    Args:
        path: the .csv.
        track: all frames.
        named: with names, of the usable frames.
    """
    fitted = iter(zip(named.frame_mm, named.weights, strict=True))
    nothing = [""] * (1 + len(named.names))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["frame", "time_s", "error_mm", *named.names])
        for number, (time_s, usable) in enumerate(
            zip(track.time_s, track.usable, strict=True)
        ):
            cells = nothing
            if usable:
                error_mm, weights = next(fitted)
                cells = [f"{value:.5f}" for value in (error_mm, *weights)]
            table.writerow([number, f"{time_s:.6f}", *cells])
