# SPDX-License-Identifier: Apache-2.0
"""Drawn by evaluations: meshes and faces, error maps, error curves."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from i2z_jax.drawing import INK, PAPER, font, grid, heat, titled
from i2z_jax.files import write_aside
from i2z_jax.geometry.blendshapes import BlendShapes
from i2z_jax.geometry.camera import project_near, project_weak, view_direction
from i2z_jax.geometry.crop import pixels_from_unit
from i2z_jax.geometry.mesh import vertex_normals
from i2z_jax.geometry.raster import interpolate, rasterize
from i2z_jax.geometry.render import render
from i2z_jax.geometry.topology import Topology
from i2z_jax.types import Bool, Float, NDArray, UInt8

GRID = (224, 224, 224)
# Colours of curves, told apart with any eyes (Okabe and Ito 2008).
CURVES = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233))
SKIN = np.array([0.72, 0.66, 0.62], np.float32)
# Side of a face on an error map; width and height of error curves; px.
FACE, PLOT = 360, (640, 400)
# Of an expression on a sheet, px.
CELL = 240
# Drawn larger and averaged, for smooth edges.
_FINER = 2


def save(path: Path, picture: UInt8[NDArray, "h w 3"]) -> Path:
    """Write a PNG; an earlier one is replaced."""
    with write_aside(path, overwrite=True) as aside:
        Image.fromarray(picture).save(aside, "PNG")
    return path


def draw_mesh(
    vertices: Float[NDArray, "n 3"],
    pose: Float[NDArray, "6"],
    topology: Topology,
    size: int,
    colours: Float[NDArray, "n 3"] | None = None,
) -> UInt8[NDArray, "h w 3"]:
    """A mesh in a white crop, softly shaded by the angle to the viewer.

    Args:
        colours: of the vertices, [0, 1]; a plain skin by default.
    """
    tint = np.broadcast_to(SKIN, vertices.shape) if colours is None else colours
    facing = np.asarray(
        np.float32(vertex_normals(vertices, topology.faces))
        @ view_direction(np.asarray(pose, np.float32))
    )
    shaded = np.float32(tint) * (0.45 + 0.55 * np.clip(facing, 0, 1)[:, None])
    image, mask = _draw(
        *map(jnp.asarray, (_pixels(vertices, pose, size), shaded, topology.faces)),
        size=size * _FINER,
    )
    white = np.full((size, size, 3), 255, np.uint8)
    return _over(np.asarray(image), np.asarray(mask), white)


def draw_face(
    vertices: Float[NDArray, "n 3"],
    pose: Float[NDArray, "6"],
    texture: Float[NDArray, "t t 3"],
    topology: Topology,
    behind: UInt8[NDArray, "s s 3"],
    *,
    nearness: float,
) -> UInt8[NDArray, "s s 3"]:
    """A textured face over a crop, as a camera of some nearness, 1/mm, sees it."""
    size = len(behind)
    points = jnp.asarray(_pixels(vertices, pose, size, nearness))
    side = size * _FINER
    image, mask = _paint(points, jnp.asarray(texture), topology, size=side)
    return _over(np.asarray(image), np.asarray(mask), behind)


def _pixels(vertices, pose, size, nearness=0.0) -> Float[NDArray, "n 3"]:
    vertices = np.float32(vertices)
    nearness = np.array(nearness, np.float32)
    points = np.array(project_near(np.float32(pose), vertices, vertices, nearness))
    points[:, :2] = pixels_from_unit(points[:, :2], size * _FINER)
    return points


@partial(jax.jit, static_argnames="size")
def _draw(points, colours, faces, *, size):
    raster = rasterize(points, faces, size, size)
    image = interpolate(colours, faces, raster.triangle, raster.barycentric)
    return image, raster.triangle >= 0


@partial(jax.jit, static_argnames=("topology", "size"))
def _paint(points, texture, topology, *, size):
    return render(points, texture, topology, size, size)


def _over(
    image: Float[NDArray, "h w 3"],
    mask: Bool[NDArray, "h w"],
    behind: UInt8[NDArray, "s s 3"],
) -> UInt8[NDArray, "s s 3"]:
    """Averaged to the size of a picture and laid over it."""
    size = behind.shape[:2]
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    colour = np.where(mask[..., None], np.clip(image, 0, 1), 0).astype(np.float32)
    colour = cv2.resize(colour, size, interpolation=cv2.INTER_AREA) * 255
    return np.rint(colour + (1 - share[..., None]) * behind).astype(np.uint8)


def frontal_pose(
    vertices: Float[NDArray, "n 3"], yaw: float = 0.0
) -> Float[NDArray, "6"]:
    """A head pose that shows a whole mesh from the front, turned by `yaw` rad."""
    pose = np.array([1.0, 0.0, yaw, 0.0, 0.0, 0.0])
    flat = project_weak(pose, np.asarray(vertices, np.float64))[:, :2]
    low, high = flat.min(0), flat.max(0)
    f = 1.9 / (high - low).max()
    return np.array([f, 0, yaw, 0, *(-f * (low + high) / 2)], np.float32)


def error_map(
    vertices: Float[NDArray, "n 3"],
    error: Float[NDArray, "n"],
    topology: Topology,
    title: str,
) -> UInt8[NDArray, "h w 3"]:
    """Mean error of each vertex on a face, from three sides, with its scale in mm."""
    limit = round_up(float(np.quantile(error, 0.98)))
    colours = heat(error.astype(np.float32), limit)
    views = [
        draw_mesh(vertices, frontal_pose(vertices, yaw), topology, FACE, colours)
        for yaw in (-0.7, 0.0, 0.7)
    ]
    return titled(np.hstack([*views, _scale(limit, FACE)]), title)


def shapes_sheet(shapes: BlendShapes, topology: Topology) -> UInt8[NDArray, "h w 3"]:
    """Every expression at weight 1, coloured by how far it moves each vertex."""
    amounts = np.linalg.norm(shapes.moves, axis=-1)
    pose = frontal_pose(shapes.neutral)

    def cell(name: str, vertices: NDArray, moved: NDArray) -> UInt8[NDArray, "h w 3"]:
        limit = float(moved.max())
        colours = heat(moved.astype(np.float32), limit)
        picture = draw_mesh(vertices, pose, topology, CELL, colours)
        return noted(picture, f"{name}\n{moved.max():.1f} mm" if limit else name)

    cells = [cell("neutral", shapes.neutral, np.zeros(len(shapes.neutral)))]
    for name, move, moved in zip(shapes.names, shapes.moves, amounts, strict=True):
        cells.append(cell(name, shapes.neutral + move, moved))
    return grid(cells, columns=8, blank=255)


def round_up(value: float) -> float:
    """The next of 0.1, 0.2, 0.5, 1, 2, 5, 10, ...: the end of a scale."""
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(power * step for step in (1, 2, 5, 10) if value <= power * step))


def _scale(limit: float, height: int) -> UInt8[NDArray, "h w 3"]:
    strip = np.full((height, 110, 3), 255, np.uint8)
    top, bottom = 30, height - 20
    levels = np.linspace(limit, 0, bottom - top, dtype=np.float32)
    strip[top:bottom, 20:42] = np.uint8(heat(levels, limit)[:, None] * 255)
    canvas = Image.fromarray(strip)
    draw = ImageDraw.Draw(canvas)
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - top)
        draw.text((48, y), f"{share * limit:g} mm", INK, font(14), anchor="lm")
    return np.asarray(canvas)


def noted(picture: UInt8[NDArray, "h w 3"], text: str) -> UInt8[NDArray, "h w 3"]:
    """A few words in the upper left corner."""
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    draw.text((6, 6), text, INK, font(18), stroke_width=3, stroke_fill=PAPER)
    return np.asarray(canvas)


def error_curves(
    errors: Mapping[str, Float[NDArray, "e"]],
    threshold: float,
    title: str,
    unit: str,
) -> UInt8[NDArray, "h w 3"]:
    """Cumulative error distributions: which share of the faces is below an error.

    Args:
        errors: by the name of the curve.
        threshold: where the axis ends, or, where most errors are larger, a line.
        unit: of the axis, such as "NME, inter-ocular".
    """
    most = np.quantile(np.concatenate(list(errors.values())), 0.9)
    limit = threshold if most <= threshold else round_up(float(most))
    width, height = (_FINER * side for side in PLOT)
    left, right, top, bottom = 120, width - 40, 30, height - 110
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    for share in np.linspace(0, 1, 5):
        y = bottom - share * (bottom - top)
        draw.line([(left, y), (right, y)], GRID, 2)
        draw.text((left - 14, y), f"{share:.0%}", INK, font(26), anchor="rm")
        x = left + share * (right - left)
        draw.line([(x, bottom), (x, bottom + 8)], INK, 2)
        draw.text((x, bottom + 14), f"{share * limit:.3g}", INK, font(26), "ma")
    x = left + threshold / limit * (right - left)
    draw.line([(x, top), (x, bottom)], GRID, 4)
    draw.line([(left, top), (left, bottom), (right, bottom)], INK, 3)
    draw.text(((left + right) / 2, height - 40), unit, INK, font(26), anchor="ms")
    for i, (name, each) in enumerate(errors.items()):
        colour = CURVES[i % len(CURVES)]
        places = np.concatenate([[0.0], np.sort(each[np.isfinite(each)])])
        shares = np.arange(len(places)) / max(len(each), 1)
        # A step at each face: right to its error, then up.
        x, y = np.repeat(places, 2)[1:], np.repeat(shares, 2)[:-1]
        x, y = np.append(x, limit), np.append(y, (each <= limit).mean())
        line = np.stack(
            [left + x / limit * (right - left), bottom - y * (bottom - top)], 1
        )
        seen = [tuple(point) for point in line[x <= limit].tolist()]
        draw.line(seen, colour, 5, joint="curve")
        key = bottom - 30 - 34 * (len(errors) - 1 - i)
        draw.line([(right - 330, key), (right - 280, key)], colour, 5)
        draw.text((right - 268, key), name, INK, font(26), anchor="lm")
    return titled(np.asarray(canvas.resize(PLOT, Image.Resampling.LANCZOS)), title)
