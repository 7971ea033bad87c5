# SPDX-License-Identifier: Apache-2.0
"""Face boxes that somebody gave: a `.npz` or a table."""

from pathlib import Path

import numpy as np

from i2z_jax.data.framing import BoxSource
from i2z_jax.errors import InputError
from i2z_jax.files import open_npz, read_bytes
from i2z_jax.geometry.crop import box_of_points
from i2z_jax.types import Float, NDArray

# Of a table of boxes.
COLUMNS = ["frame", "left", "top", "right", "bottom"]


def read_boxes(path: Path) -> tuple[Float[NDArray, "f 4"], BoxSource]:
    """Boxes for the frames of a video, pixels, NaN where there is none; and what they
    are boxes of.

    An `.npz` has `boxes` (f 4) or `landmarks` (f 68 2); a `.csv` has the columns
    frame, left, top, right, bottom. Boxes have the proportions of the detector's
    (docs/data.md).

    Raises:
        InputError: something else, or not one box, or one that is turned inside out.
    """
    expected = f".npz with boxes or landmarks, or .csv with {','.join(COLUMNS)}"
    source: BoxSource = "detector"
    try:
        if path.suffix == ".npz":
            with open_npz(path) as file:
                if "boxes" in file:
                    boxes = file["boxes"].reshape(len(file["boxes"]), 4).astype(float)
                else:
                    points = file["landmarks"].reshape(-1, 68, 2).astype(float)
                    boxes, source = np.asarray(box_of_points(points)), "landmarks"
        else:
            boxes = _table(path)
    except InputError:
        raise
    except Exception as error:  # a table, a zip or an index that is not what it says
        raise InputError(
            f"not a box file ({error})", where=path, expected=expected
        ) from error
    there = np.isfinite(boxes).all(axis=1)
    if not there.any():
        raise InputError("not one box", where=path, expected="one for some frame")
    inside_out = np.flatnonzero(there & ~(boxes[:, :2] < boxes[:, 2:]).all(axis=1))
    if len(inside_out):
        frame = int(inside_out[0])
        raise InputError(
            f"box of frame {frame} without extent",
            where=path,
            expected="left < right and top < bottom",
            got=",".join(f"{edge:g}" for edge in boxes[frame]),
        )
    return boxes, source


def _table(path: Path) -> Float[NDArray, "f 4"]:
    """Boxes of a csv with the columns frame, left, top, right, bottom."""
    lines = read_bytes(path).decode().splitlines()
    header = [word.strip().lower() for word in lines[0].split(",")[:5]] if lines else []
    if len(header) == 5 and all(map(str.isidentifier, header)) and header != COLUMNS:
        raise InputError(
            "columns of other names",
            where=path,
            expected=",".join(COLUMNS),
            got=lines[0][:80],
        )
    rows = np.array([row for line in lines if (row := _five_numbers(line))])
    if not len(rows):
        raise InputError(
            "not a line of five numbers with commas between",
            where=path,
            expected=",".join(COLUMNS),
            got=repr(lines[0][:80] if lines else ""),
        )
    numbers = rows[:, 0]
    wrong = numbers[(numbers < 0) | (numbers % 1 != 0)]
    if len(wrong):
        raise InputError(
            "not a frame's number",
            where=path,
            expected="0, 1, ...",
            got=f"{wrong[0]:g}",
        )
    boxes = np.full((int(numbers.max()) + 1, 4), np.nan)
    boxes[numbers.astype(int)] = rows[:, 1:]
    return boxes


def _five_numbers(line: str) -> list[float]:
    """The first five of a line; none of one that has names, or a number missing."""
    try:
        row = [float(word) for word in line.split("#")[0].split(",")[:5]]
    except ValueError:
        return []
    return row if len(row) == 5 and np.isfinite(row).all() else []
