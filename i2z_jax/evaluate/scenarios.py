# SPDX-License-Identifier: Apache-2.0
"""The relative scenarios: before and after, with no truth needed (DESIGN section 10).

Which views take part, what each scenario does to a crop (`data/perturb.py`), and the
published table. Networks come in with `ablation.py`.
"""

from collections import defaultdict
from functools import partial
from typing import NamedTuple, get_args

import numpy as np

from i2z_jax.config import I2ZVariant
from i2z_jax.data.augment import resized_view
from i2z_jax.data.batches import Example
from i2z_jax.data.perturb import Scenario, central_camera, face_mask, perturb
from i2z_jax.data.pipeline import Views
from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.crop import invert, pixels_from_unit
from i2z_jax.types import Int, NDArray

SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
VARIANTS: tuple[I2ZVariant, ...] = get_args(I2ZVariant)


class Score(NamedTuple):
    """One cell of the table; lower is better, None does not apply."""

    geometry_mm: float | None  # mean vertex distance
    pose_px: float | None  # mean 2D distance of reprojected vertices, px of 256
    texture: float | None  # mean absolute colour difference, RGB in [0, 1]


def _row(*cells: tuple[float, float | None, float | None]) -> dict[Scenario, Score]:
    return dict(zip(SCENARIOS, (Score(*c) for c in cells), strict=True))


# Yoon et al. 2019, supplement: four subjects of the authors' capture.
PUBLISHED: dict[I2ZVariant, dict[Scenario, Score]] = {
    "vgg-scratch": _row(
        (0.607, None, None),
        (1.485, 17.48, 0.021),
        (1.175, 6.965, 0.014),
        (0.983, None, 0.016),
        (1.285, 15.84, 0.015),
    ),
    "vgg": _row(
        (1.352, None, None),
        (1.258, 16.61, 0.020),
        (1.510, 13.98, 0.021),
        (1.736, None, 0.025),
        (1.076, 16.42, 0.016),
    ),
    "vgg+skip": _row(
        (0.397, None, None),
        (0.622, 2.579, 0.009),
        (0.227, 0.728, 0.003),
        (1.331, None, 0.018),
        (0.669, 8.750, 0.009),
    ),
    "vgg+skip+key": _row(
        (0.255, None, None),
        (0.505, 1.676, 0.007),
        (0.151, 0.684, 0.002),
        (0.896, None, 0.012),
        (0.417, 8.172, 0.006),
    ),
}

COMPARABLE = (
    "Comparable with the published rows: the order of the variants in a column, and "
    "the ratio of two of them. Not comparable: a single figure, because the published "
    "ones are means over four subjects of another capture, and the strengths of Color, "
    "Light, Jitter and Background were never printed (ours: i2z_jax/data/perturb.py). "
    "View has no strength, but depends on how far the cameras lie apart. Jitter's head "
    "pose, which is not published, is compared in the crop before the jitter. "
    "A network that ignores the picture scores 0 everywhere: read this beside "
    "`i2z evaluate capture`."
)


class FrameViews(NamedTuple):
    """The views of one frame: rows of the split, and which one the others are
    compared with in the View scenario."""

    rows: Int[NDArray, "v"]
    central: int


def chosen_frames(views: Views, most: int) -> list[FrameViews]:
    """Whole frames spread over a split, with about `most` views; 0 takes all.

    Frames that one camera saw take part too; for View they have nothing to compare.
    """
    by_frame: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    for row in range(len(views)):
        record = views.record(row)
        by_frame[int(record["frame_index"])].append((row, record["view"]))
    frames = list(by_frame.values())
    each = len(views) / len(frames)
    count = len(frames) if not most else min(len(frames), max(1, round(most / each)))
    result = []
    for i in range(count):
        rows, directions = zip(*frames[i * len(frames) // count], strict=True)
        central = central_camera(np.stack(directions))
        result.append(FrameViews(np.array(rows), central))
    return result


def changed(
    example: Example, rng: np.random.Generator, *, size: int, scenario: Scenario
) -> Example:
    """The crop under a scenario, and the map that takes a pose back.

    The change is fixed by the example's number in its split; `rng` is not used.
    """
    example = resized_view(example, size=size)
    face = None
    if scenario == "background":
        flat = project_weak(example["pose"], example["vertices"])[..., :2]
        face = face_mask(pixels_from_unit(flat, size), size)
    after = perturb(scenario, example["image"], int(example["index"]), face=face)
    back = np.asarray(invert(after.unit_similarity), np.float32)
    return {**example, "image": after.image, "unit_back": back}


def change_for(scenario: Scenario | None, size: int):
    """What `Runner.rows` applies to each example; None: nothing."""
    if scenario is None:
        return partial(resized_view, size=size)
    return partial(changed, size=size, scenario=scenario)
