# SPDX-License-Identifier: Apache-2.0
"""Runs the networks over frames of a video: one program for guard and rehearsal.

The guard looks at the held-out frames at every evaluation, rehearsal at the frames it
draws on. The networks' pass is what takes long to compute and to compile, so it is
shared; what each of them makes of it is cheap.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from i2z_jax.geometry.sampling import unit_range
from i2z_jax.geometry.unwrap import unwrap_frames
from i2z_jax.models.features import StreamMaps
from i2z_jax.models.heatmaps import Landmarks
from i2z_jax.models.i2znet import I2ZOutput
from i2z_jax.objectives.adapt import Appearance, Observation, observe
from i2z_jax.objectives.colour import ColourEquations
from i2z_jax.objectives.face_mesh import FaceMesh
from i2z_jax.sharding import (
    batch_sharding,
    local_rows,
    on_each_device,
    replicated,
    to_global,
    with_whole_kernels,
)
from i2z_jax.train.frame_cache import FrameCache
from i2z_jax.types import Array, Float, Int, NDArray, PyTree

# Pairs of frames that are looked at together.
PAIRS = 8


class Graphs(NamedTuple):
    """How I2ZNet and the decoder are put together from trained and frozen arrays."""

    net: nnx.GraphDef
    dam: nnx.GraphDef
    mesh: Mesh

    def regress(self, params: PyTree, rest: PyTree, maps: StreamMaps) -> I2ZOutput:
        """z and H, from what the streams say."""
        return nnx.merge(self.net, params, rest).regress(maps)

    def observe(
        self,
        prediction: I2ZOutput,
        given: "Given",
        frames: FrameCache,
        *,
        decode_every: int = 1,
    ) -> Observation:
        """What the frames show where the prediction puts the face."""
        return observe(
            prediction,
            nnx.merge(self.dam, given.dam),
            unit_range(frames.image),
            given.face,
            given.nearness,
            unwrap=on_each_device(unwrap_frames, self.mesh, shared=2),
            decode_every=decode_every,
        )


class Given(NamedTuple):
    """What does not change during a run, on the devices."""

    net: PyTree  # without what is trained
    dam: PyTree
    frames: FrameCache
    face: FaceMesh
    # 1 / distance of the video's camera, 1/mm.
    nearness: Float[Array, ""]


class Look(NamedTuple):
    """What was seen of some frames, divided over the devices."""

    z: Float[Array, "b z"]
    pose: Float[Array, "b 6"]
    seen: Observation
    # By the frozen hourglass.
    detected: Landmarks


def look_at(
    networks: Graphs, params: PyTree, given: Given, rows: Int[NDArray, "f"]
) -> list[Look]:
    """Look at frames, some at a time.

    Args:
        rows: of `given.frames`, as many as `whole_looks` makes them.
    """
    program, mesh = _program(networks), networks.mesh
    return [
        program(params, given, to_global(some[local_rows(mesh, len(some))], mesh))
        for some in rows.reshape(-1, frames_at_a_time(mesh))
    ]


def mean_equations(looks: list[Look], mesh: Mesh) -> ColourEquations:
    """The colours of all these frames, for `colour.solve`."""
    equations = [_equations(mesh)(look.seen.face) for look in looks]
    return jax.tree.map(lambda *x: sum(x) / len(x), *equations)


def frames_at_a_time(mesh: Mesh) -> int:
    """Pairs of frames, the same number on every device."""
    return 2 * -(-PAIRS // mesh.size) * mesh.size


def whole_looks(rows: Int[NDArray, "f"], mesh: Mesh) -> Int[NDArray, "g"]:
    """Filled up with the first ones again, so that one shape is compiled."""
    at_a_time = frames_at_a_time(mesh)
    return np.resize(rows, -(-len(rows) // at_a_time) * at_a_time)


@cache
def _equations(mesh: Mesh) -> Callable[[Appearance], ColourEquations]:
    return jax.jit(Appearance.equations, out_shardings=replicated(mesh))


@cache
def _program(networks: Graphs) -> Callable[..., Look]:
    def look(params, given, rows):
        frames = given.frames.rows(rows)
        assert frames.detected is not None, "see adapt_data.check_system"
        prediction = networks.regress(params, given.net, frames.maps)
        seen = networks.observe(prediction, given, frames)
        return Look(prediction.z, prediction.pose, seen, frames.detected)

    whole = with_whole_kernels(look, networks.mesh)
    return jax.jit(whole, out_shardings=batch_sharding(networks.mesh))
