# SPDX-License-Identifier: Apache-2.0
"""One system, one clip and one whole run for all tests of its outputs."""

from typing import NamedTuple

import numpy as np
import pytest

from i2z_jax.geometry.blendshapes import write_blend_shapes
from tests.command_line import i2z
from tests.data.clips import write_clip
from tests.track import worlds


class Run(NamedTuple):
    """A finished run of the command."""

    folder: object
    video: object
    checkpoint: object
    boxes: object
    pictures: list
    times: np.ndarray


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return worlds.save(tmp_path_factory.mktemp("checkpoint") / "system")


@pytest.fixture(scope="session")
def tracked(tmp_path_factory, checkpoint) -> Run:
    """21 frames at an uneven rate, a box for each."""
    folder = tmp_path_factory.mktemp("tracked")
    centres = [(60 + 2 * i, 56 + i / 2) for i in range(21)]
    pictures = [worlds.picture(*c) for c in centres]
    times = [40 * i + (15 if i % 3 == 1 else 0) for i in range(21)]
    video = write_clip(folder / "clip.mp4", pictures, times_ms=times)
    boxes = worlds.write_boxes(folder / "boxes.csv", centres)
    shapes = worlds.blend_shapes()
    write_blend_shapes(folder / "shapes", shapes, worlds.topology())
    arguments = [
        "track", video, "--checkpoint", checkpoint, "--out", folder / "out",
        "--boxes", boxes, "--min-confidence", 0, "--vertices", "--meshes", "ply",
        "--usd", "--batch-size", 4, "--blendshapes", folder / "shapes",
    ]  # fmt: skip
    assert i2z(*arguments) == 0
    return Run(
        folder / "out", video, checkpoint, boxes, pictures, np.array(times) / 1000
    )
