# SPDX-License-Identifier: Apache-2.0
"""What a validator fills: facts, gaps and errors by kind, and pictures on a sheet."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from i2z_jax.data import images
from i2z_jax.drawing import fitted, grid
from i2z_jax.errors import InputError
from i2z_jax.files import write_bytes
from i2z_jax.types import NDArray, UInt8

# Side of one picture of the contact sheet, and how many it has at most.
CELL, MOST_CELLS = 320, 12
# Radius of a dot on one, px, and about how many dots show a mesh on a picture.
DOT, DOTS = 1.0, 700


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


def near_side(points: NDArray, depth: NDArray) -> NDArray:
    """The points of a mesh's nearer half, thinned so that the picture still shows."""
    near = points[depth <= np.median(depth)]
    return near[:: -(-len(near) // DOTS)]


def brightened(image: UInt8[NDArray, "h w 3"]) -> UInt8[NDArray, "h w 3"]:
    """Dark, linear captures made visible; others as they are."""
    white = max(float(np.percentile(image, 99)), 1.0)
    if white > 180:
        return image.copy()
    return (255 * np.clip(image / white, 0, 1) ** (1 / 1.8)).astype(np.uint8)


def contact_sheet(cells: list[tuple[str, np.ndarray]], path: Path) -> None:
    """Write captioned pictures as one PNG, four a row."""
    shown = [(caption, fitted(image, CELL)) for caption, image in cells[:MOST_CELLS]]
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
    write_bytes(path, images.encode(grid(tiles, min(4, len(tiles))), "png"))
