# SPDX-License-Identifier: Apache-2.0
"""Validator of 300-W folders, and of any folder of pictures with `.pts` beside them."""

from pathlib import Path

import numpy as np

from i2z_jax import console
from i2z_jax.data import framing, ibug, images
from i2z_jax.data.check_report import CELL, DOT, MOST_CELLS, Report
from i2z_jax.data.warp import sample_crop
from i2z_jax.drawing import draw_dots
from i2z_jax.errors import InputError
from i2z_jax.geometry.crop import apply_affine, box_of_points
from i2z_jax.spacing import evenly_spaced
from i2z_jax.types import Float, NDArray
from i2z_jax.wording import counted

_YELLOW, _RED = (255, 230, 40), (255, 60, 60)
# Every file that `ibug.pictures` would pair.
_MARKUPS = "[!.]*.[pP][tT][sS]"
# How far a .pts value may lie outside its picture; annotators mark cut-off chins.
_SLACK = 0.05


def recognises(path: Path) -> bool:
    """Whether a folder of the layout is there, or a `.pts`."""
    return path.is_dir() and (ibug.looks_like_300w(path) or any(path.glob(_MARKUPS)))


def look(path: Path) -> Report:
    """Validate pictures and landmarks."""
    whole_layout = ibug.looks_like_300w(path)
    report = Report("300-W" if whole_layout else "pictures with .pts")
    try:
        ibug.require_finished(path)
    except InputError as error:
        report.error("unfinished", str(error))
    folders = [path / f for f in ibug.FOLDERS] if whole_layout else [path]
    good: list[tuple[Path, np.ndarray]] = []
    zero_based = one_based = 0
    for folder in folders:
        if not folder.is_dir():
            continue
        pairs = ibug.pictures(folder)
        report.facts[folder.relative_to(path.parent).as_posix()] = len(pairs)
        used = {pair.points for pair in pairs}
        for lone in sorted(set(folder.glob(_MARKUPS)) - used):
            if not ibug.is_mirrored(lone):
                report.gap("landmarks without picture", f"{lone}")
        for pair in console.progress(pairs, folder.name):
            checked = _pair(pair, report)
            if checked is None:
                continue
            points, size = checked
            good.append((pair.picture, points))
            # A 1-based file reaches from 0.5 to size + 0.5, a 0-based one one less.
            raw = points + 0.5
            zero_based += bool(((raw < 0.5) & (raw >= -0.5)).any())
            one_based += bool(((raw > size - 0.5) & (raw <= size + 0.5)).any())
    if whole_layout:
        for line in ibug.shortfall(path):
            report.gap("fewer than published", line)
    else:
        folders = ", ".join(ibug.FOLDERS)
        report.facts["to be built"] = f"no: only pictures in folders {folders} are"
    if zero_based and not one_based:
        report.gap(
            "apparently 0-based",
            f"{path}: {counted(zero_based, 'file')} with points half a pixel outside "
            "on the left or top, none on the right or bottom; .pts are 1-based",
        )
    report.facts["usable"] = len(good)
    if not good:
        report.error("nothing usable", f"{path}: no picture with sound landmarks")
    for index in evenly_spaced(len(good), MOST_CELLS):
        picture, points = good[index]
        name = picture.relative_to(path).as_posix()
        report.cells.append((name, _cell(picture, points)))
    return report


def _pair(
    pair: ibug.Annotated, report: Report
) -> tuple[Float[NDArray, "68 2"], Float[NDArray, "2"]] | None:
    """Landmarks and picture size (width, height), or what is wrong with the pair."""
    image = report.attempt(
        "unreadable picture", lambda: images.read_picture(pair.picture)
    )
    if pair.points is None:
        report.gap("picture without landmarks", f"{pair.picture}")
        return None
    points = report.attempt("bad landmarks", lambda: ibug.read_pts(pair.points))
    if image is None or points is None:
        return None
    size = np.array(image.shape[1::-1], float)
    out = ((points < -_SLACK * size) | (points > (1 + _SLACK) * size)).any(axis=1)
    if out.any():
        report.gap(
            "landmarks out of bounds",
            f"{pair.points}: {counted(int(out.sum()), 'point')} outside "
            f"{size[0]:.0f}x{size[1]:.0f}",
        )
        if out.mean() > 0.5:
            return None
    return points, size


def _cell(path: Path, points: Float[NDArray, "68 2"]) -> np.ndarray:
    crop_from_image = framing.crop_for_box(
        np.asarray(box_of_points(points)), "landmarks", CELL
    )
    cell = sample_crop(images.read_picture(path), crop_from_image, CELL)
    drawn = np.asarray(apply_affine(crop_from_image, points))
    draw_dots(cell, drawn, _YELLOW, DOT)
    # The viewer's left eye in red: a mirrored or shuffled markup shows.
    draw_dots(cell, drawn[36:42], _RED, DOT)
    return cell
