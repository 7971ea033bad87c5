# SPDX-License-Identifier: Apache-2.0
"""A second reader of captures, and of what was drawn in their pictures.

It shares no code with the package: plain NumPy, PIL and the conventions as Multiface's
own `dataset.py` has them.
"""

from pathlib import Path

import numpy as np
from PIL import Image


def files(root: Path) -> dict[str, bytes]:
    # A zip holds the time it was written; the topology has tests of its own.
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".npz"
    }


def krt(root: Path) -> dict:
    lines = (root / "KRT").read_text().split("\n")
    cameras = {}
    for start in range(0, len(lines) - 8, 9):
        name, block = lines[start], lines[start + 1 : start + 8]
        rows = [np.array(line.split(), float) for line in block]
        assert lines[start + 8] == ""
        cameras[name] = np.array(rows[:3]), np.array(rows[4:])
    return cameras


def frames(root: Path) -> list[tuple[str, str]]:
    lines = (root / "frame_list.txt").read_text().splitlines()
    return [tuple(line.split()) for line in lines]


def head_pose(root: Path, segment: str, frame: str) -> np.ndarray:
    return np.loadtxt(root / f"tracked_mesh/{segment}/{frame}_transform.txt")


def mesh(root: Path, segment: str, frame: str) -> np.ndarray:
    path = root / f"tracked_mesh/{segment}/{frame}.bin"
    return np.fromfile(path, "f4").reshape(-1, 3).astype(float)


def photo(root: Path, *parts: str) -> np.ndarray:
    return np.asarray(Image.open(root.joinpath(*parts))).astype(float) / 255


def dot_centre(image: np.ndarray, colour) -> np.ndarray | None:
    """Centroid of what has a colour's hue; None when it is not (wholly) there."""
    chroma = image - image.min(axis=-1, keepdims=True)
    strength = chroma.max(axis=-1)
    direction = chroma / np.maximum(strength, 1e-6)[..., None]
    match = (np.abs(direction - colour).max(axis=-1) < 0.35) & (strength > 0.3)
    if match.sum() < 12:
        return None
    weight = strength * match
    rows, columns = np.nonzero(match)
    on_edge = min(rows.min(), columns.min()) == 0 or (
        rows.max() == image.shape[0] - 1 or columns.max() == image.shape[1] - 1
    )
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    centre = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
    return None if on_edge else centre
