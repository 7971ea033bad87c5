# SPDX-License-Identifier: Apache-2.0
"""Prediction against truth as a sheet for TensorBoard, a row for each example.

What a network predicts of a batch is computed on the devices (`Pictures.predict`);
what is drawn of it is NumPy (`Pictures.draw`) and happens in one process.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from i2z_jax.drawing import GREEN, RED, fitted, heat, sheet, with_points
from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.crop import pixels_from_unit
from i2z_jax.train.step import PyTree
from i2z_jax.types import Array, Float, NDArray, UInt8

Arrays = Mapping[str, NDArray]
# Side of each picture of a sheet, px.
SIDE = 224
# Colour difference, of RGB in [0, 1], that is brightest; vertex distance that is red.
MOST_COLOUR, MOST_MM = 0.25, 10.0


class Pictures(NamedTuple):
    """How a stage shows what its network predicts.

    Attributes:
        predict: `(params, stats, frozen, batch)` to arrays, a pure function.
        draw: a host batch and the arrays to a sheet.
    """

    predict: Callable[[PyTree, PyTree, PyTree, PyTree], dict[str, Array]]
    draw: Callable[[Arrays, Arrays], UInt8[NDArray, "h w 3"]]


def landmarks_sheet(batch: Arrays, predicted: Arrays) -> UInt8[NDArray, "h w 3"]:
    """Landmarks on the crops.

    Args:
        batch: `image` uint8 `b h w 3`, `landmarks` px `b 68 2`.
        predicted: `landmarks` px `b 68 2`.
    """
    rows = []
    for image, truth, ours in zip(
        batch["image"], batch["landmarks"], predicted["landmarks"], strict=True
    ):
        zoom = SIDE / image.shape[1]
        crop, truth, ours = fitted(image, SIDE), truth * zoom, ours * zoom
        panels = [
            with_points(crop, truth, GREEN),
            with_points(crop, ours, RED),
            with_points(with_points(crop, truth, GREEN), ours, RED),
        ]
        error = np.linalg.norm(ours - truth, axis=-1).mean() / zoom
        rows.append((f"{error:.1f} px", panels))
    return sheet(rows, ("truth", "prediction", "both"), "landmarks of held-out faces")


def texture_sheet(batch: Arrays, predicted: Arrays) -> UInt8[NDArray, "h w 3"]:
    """Textures as a camera saw them, as decoded, and how they differ.

    Args:
        batch: `texture` uint8 `b t t 3`, exactly 0 where it was not seen; `vertices`
            mm `b n 3`.
        predicted: `texture` `b t t 3` in [0, 1], `vertices` mm `b n 3`.
    """
    rows = []
    for image, ours, truth, vertices in zip(
        batch["texture"], predicted["texture"],
        batch["vertices"], predicted["vertices"], strict=True,
    ):  # fmt: skip
        seen = (image > 0).any(-1)
        difference = np.abs(ours - image / np.float32(255)).mean(-1) * seen
        panels = [image, _bytes(ours), _bytes(heat(difference, MOST_COLOUR))]
        error = difference.sum() / max(seen.sum(), 1)
        distance = np.linalg.norm(vertices - truth, axis=-1).mean()
        name = f"{error:.3f}\n{distance:.2f} mm"
        # Row 0 is v = 0, the chin: turned the way a face stands.
        rows.append((name, [fitted(panel, SIDE)[::-1] for panel in panels]))
    columns = ("seen", "decoded", f"difference, 0 to {MOST_COLOUR:g}")
    return sheet(rows, columns, "textures of held-out views")


def face_sheet(batch: Arrays, predicted: Arrays) -> UInt8[NDArray, "h w 3"]:
    """Meshes over crops, as their vertices: of the label, and of the prediction.

    Args:
        batch: `image` uint8 `b h w 3`, `pose` `b 6`, `vertices` mm `b n 3`.
        predicted: `pose`, `vertices` as in `batch`.
    """
    rows = []
    for image, pose, truth, our_pose, ours in zip(
        batch["image"], batch["pose"], batch["vertices"],
        predicted["pose"], predicted["vertices"], strict=True,
    ):  # fmt: skip
        crop = fitted(image, SIDE)
        distance = np.linalg.norm(ours - truth, axis=-1)
        panels = [
            crop,
            _with_vertices(crop, pose, truth, 0 * distance),
            _with_vertices(crop, our_pose, ours, distance / MOST_MM),
        ]
        there, here = (
            pixels_from_unit(project_weak(each, truth)[:, :2], image.shape[1])
            for each in (pose, our_pose)
        )
        apart = np.linalg.norm(here - there, axis=-1).mean()
        rows.append((f"{distance.mean():.2f} mm\npose {apart:.1f} px", panels))
    columns = ("crop", "label", f"prediction, red: {MOST_MM:g} mm off")
    return sheet(rows, columns, "meshes of held-out views")


def _with_vertices(
    crop: UInt8[NDArray, "h w 3"],
    pose: Float[NDArray, "6"],
    vertices: Float[NDArray, "n 3"],
    error: Float[NDArray, "n"],
) -> UInt8[NDArray, "h w 3"]:
    """Dots for the half of the vertices nearer to the camera: 0 green, 1 red."""
    points = np.asarray(project_weak(pose, vertices))
    near = points[:, 2] <= np.median(points[:, 2])
    place = np.floor(pixels_from_unit(points[:, :2], SIDE)).clip(-1, SIDE).astype(int)
    inside = near & (place >= 0).all(-1) & (place < SIDE - 1).all(-1)
    green, red = (np.array(colour, np.float32) for colour in (GREEN, RED))
    colours = green + (red - green) * error.clip(0, 1)[:, None]
    crop = crop.copy()
    for across, down in np.ndindex(2, 2):
        column, row = (place[inside] + [across, down]).T
        crop[row, column] = colours[inside]
    return crop


def _bytes(image: Float[NDArray, "*b"]) -> UInt8[NDArray, "*b"]:
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)
