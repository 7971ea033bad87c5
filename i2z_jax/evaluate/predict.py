# SPDX-License-Identifier: Apache-2.0
"""Runs networks over a dataset: every example once, in order, on any devices.

Devices and batch size change who computes a row and nothing else: a step gives one
row an example, and every mean is taken on the host, in float64, in dataset order.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from i2z_jax import console
from i2z_jax.data.batches import Example, Source, Stream, one_pass
from i2z_jax.errors import InputError
from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.crop import pixels_from_unit
from i2z_jax.geometry.mesh_arrays import MeshArrays, mesh_arrays
from i2z_jax.geometry.topology import Topology
from i2z_jax.models.dam import DAM
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.sharding import create_mesh, replicate, to_global
from i2z_jax.system import System
from i2z_jax.types import Array, Float

Arrays = dict[str, Any]  # name -> arrays whose first axis is the examples


class Runner(NamedTuple):
    """Runs a step over a dataset in batches.

    Attributes:
        mesh: the devices; all of this process by default.
        batch_size: examples at a time, all devices together; rounded up to them.
        workers: processes that decode pictures; 0 decodes in this one.
    """

    mesh: Mesh
    batch_size: int = 8
    workers: int = 0

    @classmethod
    def on_all_devices(cls, batch_size: int = 8, workers: int = 0) -> "Runner":
        return cls(create_mesh(devices=jax.local_devices()), batch_size, workers)

    @property
    def size(self) -> int:
        """Rows of a batch, which the devices divide."""
        return -(-self.batch_size // self.mesh.size) * self.mesh.size

    def place(self, tree: Any) -> Any:
        """Networks and tables, a copy on every device."""
        return replicate(tree, self.mesh)

    def rows(
        self,
        source: Source,
        step: Callable[[Any, Mapping[str, Array]], Arrays],
        models: Any,
        *,
        what: str,
        change: Callable[[Example, np.random.Generator], Example] | None = None,
    ) -> Iterator[tuple[Arrays, Arrays]]:
        """`(batch, step(models, batch))` as NumPy arrays, padding taken off.

        Args:
            source: the examples.
            step: computes on the devices; every array it returns has a row an example.
            models: what the step needs beside the batch, from `place`.
            what: named in the progress bar.
            change: applied to each example while it is loaded.
        """
        stream = Stream(source, self.size, change)
        with one_pass(stream, workers=self.workers) as batches:
            waiting = None
            for batch in console.progress(batches, what, total=len(batches)):
                dispatched = batch, step(models, to_global(batch, self.mesh))
                if waiting is not None:  # fetched while the next one is computed
                    yield _on_host(*waiting)
                waiting = dispatched
            if waiting is not None:
                yield _on_host(*waiting)


def _on_host(batch: Arrays, result: Arrays) -> tuple[Arrays, Arrays]:
    count = int(batch["valid"].sum())  # padding is last

    def fetch(x):
        return np.asarray(x)[:count]

    return jax.tree.map(fetch, batch), jax.tree.map(fetch, result)


def stacked(parts: list[Arrays]) -> Arrays:
    """Batches of results as one."""
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


class MeshTables(NamedTuple):
    """What figures of a mesh need of its topology, as arrays."""

    # At the size at which textures are compared.
    arrays: MeshArrays
    regions: dict[str, Float[Array, "n"]]

    def landmark_pixels(
        self, vertices: Float[Array, "b n 3"], pose: Float[Array, "b 6"], size: int
    ) -> Float[Array, "b 68 2"] | None:
        """The mesh's landmarks in px of a crop of `size`; None without a map."""
        if self.arrays.landmark_corners is None:
            return None
        points = self.arrays.landmarks(vertices)
        return pixels_from_unit(project_weak(pose, points)[..., :2], size)

    def regional(self, per_vertex: Float[Array, "b n"]) -> dict[str, Float[Array, "b"]]:
        """Means over the whole face and over each region."""
        means = {"vertex_mm": per_vertex.mean(-1)}
        for name, weight in self.regions.items():
            mean = jnp.sum(per_vertex * weight[None], -1) / weight.sum()
            means[f"{name}_mm"] = mean
        return means


class FaceModel(NamedTuple):
    """A system as the steps take it."""

    net: I2ZNet
    dam: DAM
    mesh: MeshTables


def face_model(system: System, texture_size: int | None = None) -> FaceModel:
    """A system's networks and tables.

    Args:
        texture_size: at which to compare textures; the decoder's by default.
    """
    size = texture_size or system.dam_card.config.texture_size
    topology = system.topology
    tables = MeshTables(
        mesh_arrays(topology, size, gutter=0),
        {k: jnp.float32(v) for k, v in sorted(topology.regions.items()) if v.any()},
    )
    return FaceModel(system.net, system.dam, tables)


def require_same_mesh(topology: Topology, system: System, where: Any) -> None:
    """Refuse a dataset of another mesh than the system's.

    Raises:
        InputError: vertices or triangles differ.
    """
    ours = system.topology
    for what, theirs_is, ours_is in (
        ("vertices", topology.vertex_count, ours.vertex_count),
        ("triangles", len(topology.faces), len(ours.faces)),
    ):
        if theirs_is != ours_is:
            raise InputError(
                "the dataset has another mesh than the checkpoint",
                where=where,
                expected=f"{ours_is} {what}",
                got=theirs_is,
                fix="evaluate on data of the person that the decoder was trained on",
            )
    if not np.array_equal(topology.faces, ours.faces):
        raise InputError(
            "the dataset's triangles are not the checkpoint's",
            where=where,
            fix="evaluate on data of the topology that the decoder was trained on",
        )
