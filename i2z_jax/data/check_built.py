# SPDX-License-Identifier: Apache-2.0
"""Validator of what `i2z data build` wrote: counts, readable records, labels drawn."""

from pathlib import Path
from typing import Any

import numpy as np

from i2z_jax.data import images, records
from i2z_jax.data.check_report import DOT, MOST_CELLS, Report, near_side
from i2z_jax.drawing import GREEN, draw_dots
from i2z_jax.errors import InputError
from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.crop import pixels_from_unit
from i2z_jax.spacing import evenly_spaced

# Records of each split that are decoded.
DECODED = 64


def recognises(path: Path) -> bool:
    """Whether a finished dataset is there, or the folder it was built into."""
    return bool(_datasets(path))


def _datasets(path: Path) -> dict[str, Path]:
    """Folders by dataset."""
    candidates = [*(path / name for name in records.NAMES), path]
    found = {records.name_of(candidate): candidate for candidate in candidates}
    return {name: folder for name, folder in found.items() if name is not None}


def look(path: Path) -> Report:
    """Validate each dataset of the folder."""
    report = Report("built dataset")
    for name, folder in _datasets(path).items():
        described = records.description(folder, name)
        for config, splits in described["splits"].items():
            for split, count in splits.items():
                _split(report, folder, name, config, split, count)
        for line in described["gaps"]:
            report.gap(f"{name}: missing since it was built", line)
    return report


def _split(
    report: Report, folder: Path, name: str, config: str, split: str, count: int
) -> None:
    title = "/".join(part for part in (name, config, split) if part)
    try:
        found = records.open_split(folder, name, split, config=config)
    except InputError as error:
        report.error("unreadable split", str(error))
        return
    report.facts[title] = len(found)
    if len(found) != count:
        report.error("wrong count", f"{title}: {len(found)}, dataset.json has {count}")
    frames = records.open_frames(folder) if config == "views" else None
    for turn, index in enumerate(evenly_spaced(len(found), DECODED)):
        try:
            record = found[index]
            pictures = {
                key: images.decode_strictly(record[key], f"{title}[{index}].{key}")
                for key in records.ENCODED
                if key in record
            }
        except Exception as error:  # a shard is read by C++ with errors of its own
            report.error("unreadable record", f"{title}[{index}]: {error}")
            continue
        for key, value in record.items():
            if isinstance(value, np.ndarray) and not np.isfinite(value).all():
                report.error("not finite", f"{title}[{index}].{key}")
        if "image" in pictures and len(report.cells) < MOST_CELLS and turn % 5 == 0:
            cell = pictures["image"].copy()
            points = _points(record, frames, cell.shape[0])
            if points is not None:
                draw_dots(cell, points, GREEN, DOT)
            report.cells.append((f"{title}[{index}]", cell))


def _points(record: dict[str, Any], frames: Any, size: int) -> np.ndarray | None:
    """What a record's label says about its picture, in pixels."""
    if frames is not None:
        vertices = frames[record["frame_index"]]["vertices"]
    elif record.get("has_truth"):
        vertices = record["vertices"]
    else:
        # Video crops without ground truth have no label; 300-W has landmarks.
        return None if "has_truth" in record else record["landmarks"]
    seen = np.asarray(project_weak(record["pose"], vertices))
    return near_side(np.asarray(pixels_from_unit(seen[:, :2], size)), seen[:, 2])
