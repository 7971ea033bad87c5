# SPDX-License-Identifier: Apache-2.0
"""Small parts of pictures: dots, heat, grids, sheets."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from i2z_jax.types import Float, NDArray, UInt8

INK, PAPER = (40, 40, 40), (255, 255, 255)
GREEN, RED = (60, 220, 90), (255, 70, 60)
# Parts of a sheet, px: names at the left; a title and the columns' names on top.
MARGIN, TITLE, HEAD = 120, 38, 30


def heat(values: Float[NDArray, "*b"], limit: float) -> Float[NDArray, "*b 3"]:
    """Colours of 0 (dark) to `limit` (yellow) and beyond, RGB in [0, 1]."""
    level = np.clip(values / max(limit, 1e-9), 0, 1).reshape(-1, 1)
    bgr = cv2.applyColorMap(np.rint(level * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return bgr[:, 0, ::-1].reshape(*values.shape, 3).astype(np.float32) / 255


def with_points(
    picture: UInt8[NDArray, "h w 3"],
    points: Float[NDArray, "l 2"],
    colour: tuple[int, int, int],
) -> UInt8[NDArray, "h w 3"]:
    """The picture with dots at points in px (centres at +0.5)."""
    picture = picture.copy()
    draw_dots(picture, points, colour, 1.875)
    return picture


def draw_dots(
    picture: UInt8[NDArray, "h w 3"],
    points: Float[NDArray, "l 2"],
    colour: tuple[int, int, int],
    radius: float,
) -> None:
    """Dots into a picture, at points in px (centres at +0.5); NaN is nowhere."""
    points = points[np.isfinite(points).all(axis=-1)]
    # OpenCV counts pixel centres from whole numbers, in 1/16 px here.
    for x, y in np.rint((points - 0.5) * 16).astype(int).tolist():
        cv2.circle(
            picture, (x, y), round(radius * 16), colour, -1, cv2.LINE_AA, shift=4
        )


def fitted(image: UInt8[NDArray, "h w 3"], side: int) -> UInt8[NDArray, "h2 w2 3"]:
    """Resized so that the longer side is `side`."""
    zoom = side / max(image.shape[:2])
    way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=way))


def narrowed(image: UInt8[NDArray, "h w 3"], width: int) -> UInt8[NDArray, "h2 w2 3"]:
    """Shrunk to at most `width`."""
    if image.shape[1] <= width:
        return image
    size = width, round(image.shape[0] * width / image.shape[1])
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def grid(
    images: Sequence[UInt8[NDArray, "h w 3"]], columns: int, blank: int = 0
) -> UInt8[NDArray, "_ _ 3"]:
    """Pictures of one size in rows of `columns`, the last row filled with `blank`."""
    images = [*images, *[np.full_like(images[0], blank)] * (-len(images) % columns)]
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    return np.vstack([np.hstack(row) for row in rows])


def sheet(
    rows: Sequence[tuple[str, Sequence[UInt8[NDArray, "h w 3"]]]],
    columns: Sequence[str],
    title: str,
) -> UInt8[NDArray, "_ _ 3"]:
    """Pictures of one size in a grid, columns named on top, rows at the left."""
    side = rows[0][1][0].shape[1]
    lines = []
    for name, pictures in rows:
        line = np.hstack([np.full((side, MARGIN, 3), 255, np.uint8), *pictures])
        canvas = Image.fromarray(line)
        draw = ImageDraw.Draw(canvas)
        draw.multiline_text((10, side / 2), name, INK, font(18), anchor="lm")
        lines.append(np.asarray(canvas))
    width = MARGIN + side * len(columns)
    canvas = Image.new("RGB", (width, HEAD), PAPER)
    draw = ImageDraw.Draw(canvas)
    for i, name in enumerate(columns):
        draw.text((MARGIN + side * (i + 0.5), HEAD / 2), name, INK, font(18), "mm")
    return titled(np.vstack([np.asarray(canvas), *lines]), title)


def titled(picture: UInt8[NDArray, "h w 3"], title: str) -> UInt8[NDArray, "h2 w 3"]:
    """A picture under a line that says what it is."""
    canvas = Image.new("RGB", (picture.shape[1], TITLE), PAPER)
    ImageDraw.Draw(canvas).text((10, TITLE / 2), title, INK, font(20), anchor="lm")
    return np.vstack([np.asarray(canvas), picture])


def font(size: int):
    """Pillow's own, at a size in px."""
    return ImageFont.load_default(size)
