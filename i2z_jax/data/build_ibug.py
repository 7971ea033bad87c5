# SPDX-License-Identifier: Apache-2.0
"""300-W folders -> the `ibug_300w` dataset (records.py has its fields).

A PNG or JPEG is stored as its file is, to the byte, unless it is much larger than the
face needs: training turns by 30 degrees and zooms out by a third, so three box sides
around the face are kept, and a box is not stored wider than 320 pixels (the network
sees about 200 of them).
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from i2z_jax.data import ibug, images, records
from i2z_jax.data.build_options import BuildOptions
from i2z_jax.data.finish import Summary, finish, work_folder
from i2z_jax.data.shards import Gap, into_jobs, write_shards
from i2z_jax.data.tfds_builder import adopt
from i2z_jax.errors import InputError
from i2z_jax.files import read_bytes
from i2z_jax.geometry.crop import apply_affine
from i2z_jax.types import Float, NDArray, UInt8

# Sides of the face box that are kept around it, and its largest width in pixels.
CONTEXT, BOX_PIXELS = 3.0, 320
PER_SHARD = 512
# How files begin that are stored as they are. Others are encoded anew: the decoder of
# training reads fewer kinds than that of a build, and some in other colours.
STORED = (b"\x89PNG", b"\xff\xd8\xff")


@dataclass(frozen=True)
class Item:
    """One picture of the layout."""

    root: Path
    folder: str
    annotated: ibug.Annotated


def build(sources: tuple[Path, ...], out: Path, options: BuildOptions) -> Summary:
    """Build the dataset under `out`; what is missing is in the summary.

    Raises:
        InputError: a source does not have the layout, or is unfinished; with
            `options.strict`, the first gap.
    """
    items: dict[str, list[Item]] = {split: [] for split in ibug.SPLITS}
    gaps = []
    for root in sources:
        if not ibug.looks_like_300w(root):
            raise InputError(
                "not a 300-W folder", where=root, expected=" or ".join(ibug.FOLDERS)
            )
        ibug.require_finished(root)
        gaps += [line + "; published scores do not compare" for line in
                 ibug.shortfall(root)]  # fmt: skip
        for folder, (split, _) in ibug.FOLDERS.items():
            if (root / folder).is_dir():
                items[split] += [
                    Item(root, folder, annotated)
                    for annotated in ibug.pictures(root / folder)
                ]
    if options.strict and gaps:
        raise InputError(gaps[0], fix="build without --strict to accept it")
    if options.max_frames:
        items = {split: found[: options.max_frames] for split, found in items.items()}
    jobs = [
        j for split in ibug.SPLITS for j in into_jobs(split, items[split], PER_SHARD)
    ]
    with work_folder(out, records.IBUG, options) as work:
        shards = write_shards(
            jobs,
            encode,
            {"": records.features(records.IBUG)},
            work / "shards",
            workers=options.workers,
            strict=options.strict,
            what="pictures",
            sources=_files,
        )
        counts = adopt(records.IBUG, shards, work, splits=ibug.SPLITS)
        gaps += [gap for shard in shards for gap in shard.gaps]
        return finish(
            work, records.IBUG, sources, [options], {"": counts}, shards, gaps
        )


def _files(item: Item) -> list[Path | None]:
    boxes = ibug.boxes_path(item.root, item.folder)
    return [item.annotated.picture, item.annotated.points, boxes]


def encode(item: Item) -> Iterator[dict[str, Any] | Gap]:
    """One picture -> its record."""
    path, points_path = item.annotated.picture, item.annotated.points
    if points_path is None:
        raise InputError("no .pts beside it", where=path)
    points = ibug.read_pts(points_path)
    data = read_bytes(path)
    image = images.decode_strictly(data, path)
    height, width = image.shape[:2]
    inside = ((points >= 0) & (points <= (width, height))).all(axis=1)
    if inside.mean() < 0.5:
        raise InputError(
            "most landmarks lie outside the picture",
            where=points_path,
            expected=f"{width}x{height}",
        )
    box, source = ibug.box_for(path, points, _boxes(item.root, item.folder))
    part, crop_from_image = around_face(image, points, box)
    if part is not image or not data.startswith(STORED):
        data = images.encode(part, "jpeg")
    corners = apply_affine(crop_from_image, box.reshape(2, 2))
    yield {
        "image": data,
        "landmarks": apply_affine(crop_from_image, points).astype(np.float32),
        "box": corners.reshape(4).astype(np.float32),
        "box_source": source,
        "id": path.relative_to(item.root).as_posix(),
        "crop_from_image": crop_from_image.astype(np.float32),
    }


_boxes = functools.cache(ibug.detector_boxes)


def around_face(
    image: UInt8[NDArray, "h w 3"],
    points: Float[NDArray, "68 2"],
    box: Float[NDArray, "4"],
) -> tuple[UInt8[NDArray, "h2 w2 3"], Float[NDArray, "2 3"]]:
    """The part of a picture that training can reach, shrunk when the face is large.

    Returns:
        the part (`image` itself when that is all of it), and the map to its pixels.
    """
    corners = np.concatenate([points, box.reshape(2, 2)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    side = float((high - low).max())
    centre = (low + high) / 2
    height, width = image.shape[:2]
    left, top = np.clip(centre - CONTEXT / 2 * side, 0, (width, height)).astype(int)
    right, bottom = np.clip(
        np.ceil(centre + CONTEXT / 2 * side), 0, (width, height)
    ).astype(int)
    zoom = min(1.0, BOX_PIXELS / side)
    whole = (right - left, bottom - top) == (width, height)
    if whole and zoom == 1:
        return image, np.eye(2, 3)
    part = image[top:bottom, left:right]
    size = np.maximum(np.round(np.array([right - left, bottom - top]) * zoom), 1)
    if zoom < 1:
        part = cv2.resize(part, size.astype(int).tolist(), interpolation=cv2.INTER_AREA)
    # Sides are whole pixels, so x and y zoom a hair differently; the map says how.
    scale = size / (right - left, bottom - top)
    shift = -scale * (left, top)
    return part, np.column_stack([np.diag(scale), shift])
