# SPDX-License-Identifier: Apache-2.0
"""What is true of a whole capture, in a folder beside the records built from it.

DIR/multiview_capture/sources/INDEX/
    cameras.json    names and matrices in KRT order, and which are held out
    stats.npz       `multiface.Statistics`
    topology.npz    unless the capture has none
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from i2z_jax.data.multiface import Statistics
from i2z_jax.data.records import MULTIVIEW, description, folder, open_frames
from i2z_jax.errors import InputError
from i2z_jax.files import write_aside
from i2z_jax.geometry import topology as topologies
from i2z_jax.geometry.camera import camera_position
from i2z_jax.geometry.topology import Topology
from i2z_jax.spacing import evenly_spaced
from i2z_jax.types import Float, NDArray


class SourceCamera(NamedTuple):
    """What is kept of a `CalibratedCamera`; a view's `camera` is a row of these."""

    name: str
    test: bool
    """Held out: in splits `camera` and `test_camera`."""
    intrinsics: Float[NDArray, "3 3"]
    camera_from_world: Float[NDArray, "3 4"]


@dataclass(frozen=True)
class CaptureSource:
    """One source of a built capture, read from its folder as it is asked for."""

    path: Path
    largest_texture: int
    """Side that larger textures were shrunk to, texels."""

    @property
    def texture_size(self) -> int:
        """Side of the textures as built, texels."""
        return min(self.largest_texture, len(self.statistics.texture_mean))

    @cached_property
    def cameras(self) -> tuple[SourceCamera, ...]:
        """In KRT order, which is also that of the colour correction's rows."""
        rows = json.loads((self.path / "cameras.json").read_text())
        return tuple(
            SourceCamera(
                row["name"],
                row["test"],
                np.asarray(row["intrinsics"]),
                np.asarray(row["camera_from_world"]),
            )
            for row in rows
        )

    @property
    def camera_names(self) -> list[str]:
        return [camera.name for camera in self.cameras]

    @cached_property
    def statistics(self) -> Statistics:
        """From the capture's own textures, which may be larger than those built."""
        with np.load(self.path / "stats.npz", allow_pickle=False) as file:
            return Statistics(**{name: file[name] for name in Statistics._fields})

    @cached_property
    def topology(self) -> Topology:
        """What stays fixed on the mesh.

        Raises:
            InputError: the capture was built without.
        """
        path = self.path / "topology.npz"
        if not path.exists():
            raise InputError(
                "no topology.npz",
                where=self.path,
                fix="put the mesh's topology.npz in the capture's root and build again",
            )
        return topologies.load(path)


def write_source(
    path: Path,
    cameras: Sequence[SourceCamera],
    statistics: Statistics,
    topology: Topology | None,
) -> None:
    """Write a source's folder, in place of one that is there."""
    rows = [
        {
            "name": camera.name,
            "test": camera.test,
            "intrinsics": camera.intrinsics.tolist(),
            "camera_from_world": camera.camera_from_world.tolist(),
        }
        for camera in cameras
    ]
    with write_aside(path, overwrite=True) as aside:
        aside.mkdir()
        (aside / "cameras.json").write_text(json.dumps(rows, indent=1))
        np.savez(aside / "stats.npz", allow_pickle=False, **statistics._asdict())
        if topology is not None:
            topologies.save(aside / "topology.npz", topology)


def capture_sources(directory: str | Path) -> dict[int, CaptureSource]:
    """What a built capture was built from, by a view's `source`.

    Raises:
        InputError: nothing built there.
    """
    size = description(directory, MULTIVIEW)["options"]["texture_size"]
    paths = sorted((folder(directory, MULTIVIEW) / "sources").iterdir())
    return {int(path.name): CaptureSource(path, size) for path in paths}


def only_source(directory: str | Path) -> CaptureSource:
    """The one source of a built capture with one subject.

    Raises:
        InputError: the capture was built from several subjects.
    """
    sources = list(capture_sources(directory).values())
    if len(sources) != 1:
        raise InputError(
            "a deep appearance model is of one person",
            where=directory,
            expected="a capture built from one source",
            got=f"{len(sources)} sources",
        )
    return sources[0]


def capture_nearness(directory: str | Path) -> float:
    """How near the capture's cameras are to the head: median of 1 / distance, 1/mm."""
    first, *_ = capture_sources(directory).values()
    frames = open_frames(directory)
    heads = [
        np.asarray(frames[row]["world_from_head"], np.float64)
        for row in evenly_spaced(len(frames), 16)
    ]
    distances = [
        np.linalg.norm(camera_position(camera.camera_from_world, head))
        for camera in first.cameras
        for head in heads
    ]
    return float(np.median(1 / np.asarray(distances)))
