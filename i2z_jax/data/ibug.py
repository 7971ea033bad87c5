# SPDX-License-Identifier: Apache-2.0
"""The 300-W layout on disk: which pictures make which split, `.pts`, face boxes.

Sagonas et al., 300 Faces in-the-Wild (2013, 2016); DESIGN 7. A `.pts` is 1-based: the
centre of the top left pixel is (1, 1). Everything this module returns has it at
(0.5, 0.5), so a value is the `.pts` one minus 0.5.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2z_jax.data.images import SUFFIXES
from i2z_jax.errors import InputError
from i2z_jax.files import reading, visible
from i2z_jax.geometry.crop import box_of_points
from i2z_jax.types import Float, NDArray
from i2z_jax.wording import counted

# Folder -> (split, number of pictures as published). Full = common + challenging.
FOLDERS: dict[str, tuple[str, int]] = {
    "afw": ("train", 337),
    "helen/trainset": ("train", 2000),
    "lfpw/trainset": ("train", 811),
    "helen/testset": ("common", 330),
    "lfpw/testset": ("common", 224),
    "ibug": ("challenging", 135),
    "300W/01_Indoor": ("private", 300),
    "300W/02_Outdoor": ("private", 300),
}
SPLITS = ("train", "common", "challenging", "private")
# A file that stands in a rendered set (`i2z synth landmarks`) until it is whole: its
# folders are filled one after the other, so an unfinished one has no pictures to test.
UNFINISHED = "unfinished.txt"
# The mirrored copies that preparation scripts leave beside the originals.
MIRRORED = ("_mirror", "_mirrored", "_flip", "_flipped")

_PIXEL = 0.5  # .pts minus ours


def published_count(split: str) -> int:
    """3148, 554, 135, 600: how many pictures a split has when it is whole."""
    return sum(count for owner, count in FOLDERS.values() if owner == split)


@dataclass(frozen=True)
class Annotated:
    """A picture and its landmark file; `points` is None where that is missing."""

    picture: Path
    points: Path | None


def looks_like_300w(root: Path) -> bool:
    """Whether at least one folder of the layout is there."""
    return any((root / folder).is_dir() for folder in FOLDERS)


def require_finished(root: Path) -> None:
    """Refuse a rendered set of which a part is missing.

    Raises:
        InputError: its rendering was interrupted, or is going on.
    """
    if (root / UNFINISHED).exists():
        raise InputError(
            "a part of this set is still to be rendered",
            where=root,
            fix="give the `i2z synth landmarks` command again to go on",
        )


def pictures(folder: Path) -> list[Annotated]:
    """The pictures of one folder by name, mirrored copies left out.

    A picture and its `.pts` share a stem; spaces do not count, because the one name
    of iBUG that has a space is often renamed on one side only.
    """
    try:
        names = visible(folder)
    except OSError as error:
        raise InputError(f"cannot list ({error.strerror})", where=folder) from error
    landmark_files = {
        _plain(path): path for path in names if path.suffix.lower() == ".pts"
    }
    return [
        Annotated(path, landmark_files.get(_plain(path)))
        for path in names
        if path.suffix.lower() in SUFFIXES and not is_mirrored(path)
    ]


def is_mirrored(path: Path) -> bool:
    """Whether the name says it is a mirrored copy of another picture."""
    return path.stem.lower().endswith(MIRRORED)


def _plain(path: Path) -> str:
    return path.stem.replace(" ", "")


def read_pts(path: str | Path) -> Float[NDArray, "68 2"]:
    """The 68 points of a `.pts` file, pixels, float64.

    Raises:
        InputError: not a `.pts`, not 68 points, something that is no number, or
            points without width or height, which no crop can be cut around.
    """
    with reading(path):
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    _, opened, rest = text.partition("{")
    body, closed, _ = rest.partition("}")
    if not opened or not closed:
        raise InputError(
            "not a .pts file", where=path, expected="points between { and }"
        )
    rows = [line.split() for line in body.splitlines() if line.strip()]
    if len(rows) != 68:
        raise InputError(
            "wrong number of points", where=path, expected=68, got=len(rows)
        )
    try:
        points = np.array([[float(x), float(y)] for x, y in rows])
    except ValueError as error:
        raise InputError(
            f"not a number ({error})", where=path, expected="two numbers a line"
        ) from error
    if not np.isfinite(points).all():
        raise InputError("a point is not finite", where=path)
    if not np.ptp(points, axis=0).all():
        raise InputError("no face: all points are on one line", where=path)
    return points - _PIXEL


def write_pts(path: str | Path, points: Float[NDArray, "68 2"]) -> None:
    """Write landmarks (pixels) as a 1-based `.pts` file."""
    lines = [f"{x:.6f} {y:.6f}" for x, y in np.asarray(points) + _PIXEL]
    header = f"version: 1\nn_points: {len(lines)}\n{{\n"
    Path(path).write_text(header + "\n".join(lines) + "\n}\n")


def boxes_path(root: Path, folder: str) -> Path:
    """Where the detector's boxes of one folder of the layout are, if they are."""
    name = f"bounding_boxes_{folder.replace('/', '_')}.mat"
    return root / "Bounding_Boxes" / name


def detector_boxes(root: Path, folder: str) -> dict[str, Float[NDArray, "4"]]:
    """Boxes of the 300-W baseline detector, by picture name without spaces.

    Read from `boxes_path`; empty when it is not there (the private set has none).

    Raises:
        InputError: the file is there and cannot be understood.
    """
    from scipy.io import loadmat

    path = boxes_path(root, folder)
    if not path.is_file():
        return {}
    try:
        table = loadmat(path, simplify_cells=True)["bounding_boxes"]
        return {
            _plain(Path(str(row["imgName"]))): np.reshape(row["bb_detector"], 4)
            - _PIXEL
            for row in np.atleast_1d(table)
        }
    except Exception as error:  # loadmat raises many kinds on a damaged file
        raise InputError(
            f"not a table of boxes ({error})",
            where=path,
            expected="bounding_boxes with imgName and bb_detector",
        ) from error


def box_for(
    picture: Path,
    points: Float[NDArray, "68 2"],
    detected: dict[str, Float[NDArray, "4"]],
) -> tuple[Float[NDArray, "4"], str]:
    """A picture's face box and where it comes from: `detector` or `landmarks`."""
    if (box := detected.get(_plain(picture))) is not None:
        return box, "detector"
    return np.asarray(box_of_points(points)), "landmarks"


def shortfall(root: Path) -> Iterator[str]:
    """One line for each split that has not the published number of pictures."""
    for split in SPLITS:
        found = {
            folder: len(pictures(root / folder)) if (root / folder).is_dir() else 0
            for folder, (owner, _) in FOLDERS.items()
            if owner == split
        }
        if sum(found.values()) != published_count(split):
            counts = ", ".join(
                f"{folder} {count} of {FOLDERS[folder][1]}"
                for folder, count in found.items()
            )
            yield (
                f"{root}: {split} has {counted(sum(found.values()), 'picture')}, "
                f"published {published_count(split)} ({counts})"
            )
