# SPDX-License-Identifier: Apache-2.0
"""Is this folder usable? Recognise its layout, look at every file, draw what agrees.

A validator per layout (`check_capture`, `check_landmarks`, `check_video`,
`check_built`) fills a `Report`: facts, what is missing or damaged grouped by kind, and
pictures with the annotation drawn on them, so that a person sees in one look whether
mesh, camera and image belong together.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from i2z_jax.data import images
from i2z_jax.errors import InputError
from i2z_jax.files import write_aside
from i2z_jax.types import NDArray, UInt8

# Side of one picture of the contact sheet, and how many it has at most.
CELL, MOST_CELLS = 320, 12
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")


@dataclass
class Report:
    """What a validator found.

    Attributes:
        layout: which layout it is.
        facts: counts and sizes, name -> value.
        gaps: kind -> lines; tolerated by a build.
        errors: kind -> lines; nothing can be built until they are gone.
        cells: captioned pictures for the contact sheet.
    """

    layout: str
    facts: dict[str, Any] = field(default_factory=dict)
    gaps: dict[str, list[str]] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)
    cells: list[tuple[str, np.ndarray]] = field(default_factory=list)

    def gap(self, kind: str, line: str) -> None:
        """Note something that is missing or damaged, and can be done without."""
        self.gaps.setdefault(kind, []).append(line)

    def error(self, kind: str, line: str) -> None:
        """Note something that nothing can be built with."""
        self.errors.setdefault(kind, []).append(line)

    def attempt(self, kind: str, read: Callable[[], Any]) -> Any:
        """`read()`, or None and a gap where it raises an InputError."""
        try:
            return read()
        except InputError as error:
            self.gap(kind, str(error))
            return None

    def as_json(self, *, strict: bool = False) -> dict[str, Any]:
        """Everything but the pictures."""
        return {
            "layout": self.layout,
            "usable": self.usable(strict=strict),
            "facts": self.facts,
            "errors": self.errors,
            "gaps": self.gaps,
        }

    def usable(self, *, strict: bool = False) -> bool:
        """Whether a build would succeed; with `strict`, without any gap."""
        return not self.errors and not (strict and self.gaps)


def check(path: Path) -> Report:
    """Recognise what lies at `path` and look at all of it.

    Raises:
        InputError: it does not exist, or has none of the layouts.
    """
    from i2z_jax.data import (
        check_built,
        check_capture,
        check_landmarks,
        check_video,
    )

    require_no_archive(path)
    try:
        path.stat()
    except OSError as error:  # not there, or a loop of links
        raise InputError(f"cannot read ({error.strerror})", where=path) from error
    for validator in (check_built, check_capture, check_landmarks, check_video):
        if validator.recognises(path):
            return validator.look(path)
    raise InputError(
        "no layout that is known",
        where=path,
        expected="a capture (KRT, frame_list.txt, images, tracked_mesh), 300-W folders "
        "or pictures with .pts, a video or a folder of frames, or a built dataset",
    )


def require_no_archive(path: Path) -> None:
    """Refuse archives: what is in one is not unpacked here.

    Raises:
        InputError: the name is that of an archive.
    """
    if path.suffix.lower() in ARCHIVES and not path.is_dir():
        raise InputError("an archive", where=path, fix="unpack it and give the folder")


def spread(count: int, most: int = MOST_CELLS) -> list[int]:
    """At most `most` indices, evenly over `count`."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def dots(
    image: UInt8[NDArray, "h w 3"], points: NDArray, colour: tuple[int, int, int]
) -> None:
    """Draw points (pixels, centres at +0.5) into an image."""
    inside = points[np.isfinite(points).all(axis=-1)]
    for x, y in np.round((inside - 0.5) * 8).astype(int):
        cv2.circle(image, (int(x), int(y)), 8, colour, -1, cv2.LINE_AA, 3)


def near_side(points: NDArray, depth: NDArray, most: int = 700) -> NDArray:
    """The points of a mesh's nearer half, thinned so that the picture still shows."""
    near = points[depth <= np.median(depth)]
    return near[:: -(-len(near) // most)]


def brightened(image: UInt8[NDArray, "h w 3"]) -> UInt8[NDArray, "h w 3"]:
    """Dark, linear captures made visible; others as they are."""
    white = max(float(np.percentile(image, 99)), 1.0)
    if white > 180:
        return image.copy()
    return (255 * np.clip(image / white, 0, 1) ** (1 / 1.8)).astype(np.uint8)


def contact_sheet(cells: list[tuple[str, np.ndarray]], path: Path) -> None:
    """Write captioned pictures as one PNG, four a row."""
    shown = [(caption, fitted(image)) for caption, image in cells[:MOST_CELLS]]
    height = max(image.shape[0] for _, image in shown)
    tiles = []
    for caption, image in shown:
        tile = np.zeros((height + 20, CELL, 3), np.uint8)
        tile[: image.shape[0], : image.shape[1]] = image
        cv2.putText(
            tile, caption[-48:], (4, height + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.38,
            (255, 255, 255), 1, cv2.LINE_AA,
        )  # fmt: skip
        tiles.append(tile)
    columns = min(4, len(tiles))
    while len(tiles) % columns:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [
        np.concatenate(tiles[i : i + columns], axis=1)
        for i in range(0, len(tiles), columns)
    ]
    with write_aside(path, overwrite=True) as aside:
        aside.write_bytes(images.encode(np.concatenate(rows), "png"))


def fitted(image: UInt8[NDArray, "h w 3"]) -> UInt8[NDArray, "h2 w2 3"]:
    """A picture at the size that it has on the contact sheet."""
    scale = CELL / max(image.shape[:2])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=way)
