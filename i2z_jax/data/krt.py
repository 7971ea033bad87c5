# SPDX-License-Identifier: Apache-2.0
"""Calibrated cameras in Multiface's `KRT` file.

A camera is eight rows, and a blank line ends it: its name; K (3 rows of 3, pixels);
5 distortion values, which Multiface's own loader ignores and so do we; [R | t]
(3 rows of 4, world -> camera, mm).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from i2z_jax.errors import InputError
from i2z_jax.files import read_text, write_text
from i2z_jax.geometry.camera import project_calibrated
from i2z_jax.types import Float, NDArray

# Numbers in the rows below the name.
ROWS = (3, 3, 3, 5, 4, 4, 4)
# No origin of a stage is a kilometre from its cameras, mm.
FARTHEST = 1e6


class CalibratedCamera(NamedTuple):
    """A pinhole camera: x right, y down, z away from it; pixel centres at +0.5."""

    intrinsics: Float[NDArray, "3 3"]
    distortion: Float[NDArray, "5"]
    camera_from_world: Float[NDArray, "3 4"]

    def project(
        self, world_from_head: Float[NDArray, "3 4"], points: Float[NDArray, "n 3"]
    ) -> tuple[Float[NDArray, "n 2"], Float[NDArray, "n"]]:
        """Pixels and depth, mm, of points of a head: `project_calibrated`."""
        return project_calibrated(
            self.intrinsics, self.camera_from_world, world_from_head, points
        )


def read_krt(path: str | Path) -> dict[str, CalibratedCamera]:
    """The cameras of a KRT file by name, in file order, float64.

    Raises:
        InputError: the file is missing or no text, a camera lacks a row or a number,
            K or [R | t] is none, a name is several words or there twice. The camera
            is named.
    """
    cameras: dict[str, CalibratedCamera] = {}
    for block in _blocks(read_text(path)):
        name = block[0][0]
        if len(block[0]) > 1:
            raise InputError(
                "a camera's name is one word", where=path, got=" ".join(block[0])
            )
        if name in cameras:
            raise InputError(f"camera {name} is there twice", where=path)
        cameras[name] = _camera(block[1:], name, path)
    if not cameras:
        raise InputError("no cameras", where=path)
    return cameras


def write_krt(path: str | Path, cameras: Mapping[str, CalibratedCamera]) -> None:
    """The inverse of `read_krt`, to the last bit."""
    lines = []
    for name, camera in cameras.items():
        lines.append(name)
        for rows in (
            camera.intrinsics,
            camera.distortion[None],
            camera.camera_from_world,
        ):
            lines += [" ".join(repr(float(x)) for x in row) for row in rows]
        lines.append("")
    write_text(path, "\n".join(lines) + "\n")


def _blocks(text: str) -> list[list[list[str]]]:
    """Runs of lines between blank ones, each line as its words."""
    blocks: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if words := line.split():
            blocks[-1].append(words)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _camera(rows: list[list[str]], name: str, path: str | Path) -> CalibratedCamera:
    counts = tuple(len(row) for row in rows)
    if counts != ROWS:
        raise InputError(
            f"camera {name} is incomplete",
            where=path,
            expected="rows of " + " ".join(map(str, ROWS)) + " numbers below its name",
            got=" ".join(map(str, counts)),
        )
    try:
        values = [[float(word) for word in row] for row in rows]
    except ValueError as error:
        raise InputError(f"camera {name}: {error}", where=path) from error
    intrinsics, rigid = np.array(values[:3]), np.array(values[4:])
    rotation = rigid[:, :3]
    if not (
        np.isfinite(intrinsics).all()
        and np.isfinite(rigid).all()
        and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2)
        and np.linalg.det(rotation) > 0
        and intrinsics[0, 0] > 0
        and intrinsics[1, 1] > 0
        and np.array_equal(intrinsics[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1])
        and np.abs(rigid[:, 3]).max() < FARTHEST
    ):
        raise InputError(
            f"camera {name} is not calibrated",
            where=path,
            expected="K with positive focal lengths, zeros below them and 0 0 1 last, "
            f"[R | t] with a rotation R and t within {FARTHEST:g} mm",
        )
    return CalibratedCamera(intrinsics, np.array(values[3]), rigid)
