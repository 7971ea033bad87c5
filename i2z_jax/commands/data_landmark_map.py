# SPDX-License-Identifier: Apache-2.0
"""`i2z data landmark-map`: 2D landmarks of a capture -> a topology with a map."""

from dataclasses import dataclass
from pathlib import Path

from i2z_jax import console
from i2z_jax.errors import InputError
from i2z_jax.wording import counted


@dataclass(frozen=True)
class Config:
    """Derive the 68-landmark map of a capture's mesh, which Multiface does not ship.

    Any landmark detector will do: run it on the capture's images and keep its .pts
    files (300-W, 1-based) in the same folders. A dozen frames with five or more views
    each are enough; wrong detections in some views do no harm.
    """

    # The capture, Multiface layout.
    capture: Path
    # Landmarks, as LANDMARKS/SEGMENT/CAMERA/FRAME.pts; any may be missing.
    landmarks: Path
    # The topology.npz to write: with the map and the regions eyes, mouth, jaw.
    out: Path
    # Triangles and UVs: an OBJ or .npz. Default: the capture's topology.npz, or one of
    # its .obj.
    topology: Path | None = None
    # Replace OUT if it exists.
    overwrite: bool = False


def run(config: Config) -> None:
    """Triangulate, find the places, write the topology."""
    import numpy as np

    from i2z_jax.data.build_options import MultiviewOptions
    from i2z_jax.data.capture_topology import topology_of, without_topology
    from i2z_jax.data.multiface import Capture
    from i2z_jax.data.posed_frames import posed_frames
    from i2z_jax.geometry import topology as topologies
    from i2z_jax.geometry.landmark_map import derive_landmark_map, with_landmarks

    # Before the minutes that it takes.
    if config.out.exists() and not config.overwrite:
        raise InputError(
            "already exists", where=config.out, fix="another --out, or --overwrite"
        )
    capture = Capture(config.capture)
    options = MultiviewOptions(topology=config.topology)
    topology = topology_of(capture.paths.root, options)
    if topology is None:
        raise InputError(without_topology(config.capture))
    frames, size = posed_frames(capture, config.landmarks)
    mean = capture.statistics.vertex_mean.astype(float)
    found = derive_landmark_map(frames, mean, topology.faces, picture_size=size)
    topology = with_landmarks(topology, found.faces, found.barycentric, mean)
    topologies.save(config.out, topology, overwrite=config.overwrite)
    worst = int(np.argmax(found.spread_mm))
    console.out.print(
        f"{config.out}: 68 landmarks from {counted(len(frames), 'frame')}; "
        f"single frames lie {np.median(found.spread_mm):.2f} mm from them "
        f"(worst: landmark {worst}, {found.spread_mm[worst]:.2f} mm)"
    )
