# SPDX-License-Identifier: Apache-2.0
"""The topology of a capture: a file that is given, or one that lies in it."""

import functools
from pathlib import Path

from i2z_jax.data.build_options import MultiviewOptions
from i2z_jax.data.multiface import Capture, Layout
from i2z_jax.errors import InputError
from i2z_jax.geometry import multiface_landmarks
from i2z_jax.geometry.landmark_map import with_landmarks
from i2z_jax.geometry.topology import Topology
from i2z_jax.geometry.topology import load as load_topology


def topology_path(paths: Layout, options: MultiviewOptions) -> Path | None:
    """The file that was given, the capture's own, or one of its `.obj`; None without
    any."""
    if options.topology is not None or paths.topology.is_file():
        return options.topology or paths.topology
    return min(paths.root.glob("tracked_mesh/*/*.obj"), default=None)


@functools.lru_cache(maxsize=4)
def topology_of(root: Path, options: MultiviewOptions) -> Topology | None:
    """What stays fixed on the capture's mesh, read from `topology_path`.

    Multiface ships no landmarks: on its mesh, without a map in the file, they are where
    its texture chart has them.

    Raises:
        InputError: damaged, or of a mesh with another number of vertices.
    """
    opened = Capture(root)
    path = topology_path(opened.paths, options)
    if path is None:
        return None
    topology = load_topology(path)
    if topology.vertex_count != opened.vertex_count:
        raise InputError(
            "the topology of another mesh",
            where=path,
            expected=f"{opened.vertex_count} vertices",
            got=topology.vertex_count,
        )
    if topology.landmark_faces is None and multiface_landmarks.is_multiface(topology):
        found = multiface_landmarks.landmark_map(topology)
        topology = with_landmarks(topology, *found, opened.statistics.vertex_mean)
    return topology


def without_topology(root: Path) -> str:
    """What it means that `topology_of` found none."""
    return (
        f"{root}: no topology.npz and no .obj; give --topology FILE, or nothing that "
        "unwraps or draws the mesh can use this"
    )
