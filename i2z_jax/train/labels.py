# SPDX-License-Identifier: Apache-2.0
"""Labels that a dataset and a decoder make together: z of every frame, spread of H."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from i2z_jax import console
from i2z_jax.chunks import chunks
from i2z_jax.data.images import decode_texture
from i2z_jax.data.records import MULTIVIEW, open_frames, open_split
from i2z_jax.errors import InputError
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.geometry.topology import Topology, texel_map
from i2z_jax.models.dam import DAM
from i2z_jax.sharding import (
    create_mesh,
    local_rows,
    replicate,
    replicated,
    to_global,
)
from i2z_jax.spacing import evenly_spaced
from i2z_jax.types import Array, Float, NDArray, PyTree, UInt8

# Views that the spread of H is measured on, spread over the split.
POSES = 4096
# Meshes of a capture that its decoder may start from.
MESHES = 1024
# A flat spread (every view from one side, say) must not blow up the regressed values.
LEAST_STD = np.array([1e-5, 1e-2, 1e-2, 1e-2, 1e-2, 1e-2])


def encode_frames(
    dam: DAM, directory: str | Path, *, batch_size: int = 8
) -> Float[NDArray, "frames z"]:
    """Posterior mean of z for every frame of a built capture, by frame_index.

    The target of regression (DESIGN section 2). It depends on the frame alone, so it
    is computed once, not once per view and epoch. All devices of all processes share
    the frames; a process reads its own, and gets z of all.

    Args:
        batch_size: frames that a device encodes at a time.

    Raises:
        InputError: the capture has another mesh or texture size than the model.
    """
    frames = open_frames(directory)
    averages = open_frames(directory, "frame_textures")
    check_topology(dam, frames[0]["vertices"], directory)
    size = dam.statistics.tex_mean.shape[0]
    mesh = create_mesh()
    graph, state = nnx.split(dam)
    state, encode = replicate(state, mesh), _posterior_mean(graph, mesh)
    batch_size *= mesh.size
    ours = local_rows(mesh, batch_size)
    parts = []
    with ThreadPoolExecutor() as pool:
        for rows, new in console.progress(
            chunks(len(frames), batch_size), "encode frames"
        ):
            records = [averages[int(row)] for row in rows[ours]]
            textures = np.stack(list(pool.map(decode_texture, records)))
            if textures.shape[1] != size:
                raise InputError(
                    "textures of another size than the model's",
                    where=directory,
                    expected=size,
                    got=textures.shape[1],
                    fix=f"build the capture with --texture-size {size}",
                )
            vertices = np.stack([frames[int(row)]["vertices"] for row in rows[ours]])
            parts.append((encode(state, *to_global((vertices, textures), mesh)), new))
    return np.concatenate([np.asarray(part)[new] for part, new in parts])


@cache
def _posterior_mean(graph: nnx.GraphDef, mesh: Mesh):
    def encode(
        state: PyTree, vertices: Float[Array, "b n 3"], texture: UInt8[Array, "b t t 3"]
    ) -> Float[Array, "b z"]:
        return nnx.merge(graph, state).encode(vertices, unit_range(texture)).mean

    return jax.jit(encode, out_shardings=replicated(mesh))


def training_meshes(directory: str | Path) -> Float[NDArray, "m n 3"]:
    """At most `MESHES` of a built capture's training frames, mm, spread over it."""
    frames = open_split(directory, MULTIVIEW, "train", config="frames")
    return np.stack(
        [frames[row]["vertices"] for row in evenly_spaced(len(frames), MESHES)]
    )


def check_topology(dam: DAM, vertices: np.ndarray, where: str | Path) -> None:
    """Refuse a capture of another mesh than the model's.

    Raises:
        InputError: the number of vertices differs.
    """
    expected = dam.statistics.vert_mean.shape[0]
    if len(vertices) != expected:
        raise InputError(
            "the capture has another mesh than the model",
            where=where,
            expected=f"{expected} vertices",
            got=len(vertices),
            fix="use the model that was trained on this capture",
        )


def pose_statistics(views) -> tuple[Float[NDArray, "6"], Float[NDArray, "6"]]:
    """Mean and standard deviation of H over a split (DESIGN section 3.6).

    Args:
        views: a `data.pipeline.Views`.
    """
    count = min(len(views), POSES)
    poses = np.stack(
        [views.record(i * len(views) // count)["pose"] for i in range(count)]
    ).astype(np.float64)
    std = np.maximum(poses.std(0), LEAST_STD)
    return poses.mean(0).astype(np.float32), std.astype(np.float32)


def texel_weights(
    topology: Topology, size: int, *, emphasis: float = 2.0
) -> Float[NDArray, "t t"]:
    """Weight of each texel: 0 off the mesh, `emphasis` in the eye and mouth regions.

    Lombardi et al. 2018 weigh the regions that people look at higher; Multiface ships
    such a mask as a picture, ours follows from the topology's regions.
    """
    triangle, _ = texel_map(topology, size, gutter=0)
    important = np.zeros(topology.vertex_count, bool)
    for name in ("eyes", "mouth"):
        if name in topology.regions:
            important |= topology.regions[name]
    of_face = np.all(important[topology.faces], axis=-1)
    weight = np.where(of_face[np.maximum(triangle, 0)], emphasis, 1.0)
    return np.where(triangle >= 0, weight, 0.0).astype(np.float32)
