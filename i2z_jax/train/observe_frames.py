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
from i2z_jax.train.held_out import equal_parts
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
        inputs: "RunInputs",
        frames: FrameCache,
        *,
        decode_every: int = 1,
    ) -> Observation:
        """What the frames show where the prediction puts the face."""
        return observe(
            prediction,
            nnx.merge(self.dam, inputs.dam),
            unit_range(frames.image),
            inputs.face,
            inputs.nearness,
            unwrap=on_each_device(unwrap_frames, self.mesh, shared=2),
            decode_every=decode_every,
        )


class RunInputs(NamedTuple):
    """What does not change during a run, on the devices."""

    net: PyTree  # without what is trained
    dam: PyTree
    frames: FrameCache
    face: FaceMesh
    # 1 / distance of the video's camera, 1/mm.
    nearness: Float[Array, ""]


class FrameGroup(NamedTuple):
    """Frames that are looked at together."""

    # So many that one shape is compiled: all of them the same number of times, so that
    # a mean over these rows is the mean over the frames.
    rows: Int[NDArray, "b"]
    # Of different frames, which stand first.
    count: int


class FrameObservations(NamedTuple):
    """What was seen of some frames, divided over the devices."""

    z: Float[Array, "b z"]
    pose: Float[Array, "b 6"]
    seen: Observation
    # By the frozen hourglass.
    detected: Landmarks


def in_groups(rows: Int[NDArray, "k *pair"], mesh: Mesh) -> list[FrameGroup]:
    """Rows, or pairs of them which stay together, for `observe_frames`."""
    each = rows[0].size
    # Pairs of frames, the same number on every device.
    size = 2 * -(-PAIRS // mesh.size) * mesh.size // each
    return [
        FrameGroup(np.resize(group, (size, each)).reshape(-1), group.size)
        for group in equal_parts(rows, size)
    ]


def observe_frames(
    networks: Graphs, params: PyTree, inputs: RunInputs, groups: list[FrameGroup]
) -> list[FrameObservations]:
    """Predict and unwrap frames, group by group."""
    program, mesh = _program(networks), networks.mesh
    return [
        program(params, inputs, to_global(rows[local_rows(mesh, len(rows))], mesh))
        for rows, _ in groups
    ]


def mean_over(groups: list[FrameGroup], values: list[PyTree]) -> PyTree:
    """Mean over all frames, from the means over those of each group."""
    total = sum(group.count for group in groups)
    shares = [group.count / total for group in groups]

    def mean(*each):
        return sum(share * x for share, x in zip(shares, each, strict=True))

    return jax.tree.map(mean, *values)


def mean_equations(
    groups: list[FrameGroup], observed: list[FrameObservations], mesh: Mesh
) -> ColourEquations:
    """The colours of all these frames, for `colour.solve`."""
    return mean_over(groups, [_equations(mesh)(each.seen.face) for each in observed])


@cache
def _equations(mesh: Mesh) -> Callable[[Appearance], ColourEquations]:
    return jax.jit(Appearance.equations, out_shardings=replicated(mesh))


@cache
def _program(networks: Graphs) -> Callable[..., FrameObservations]:
    def observe(params, inputs, rows):
        frames = inputs.frames.rows(rows)
        assert frames.detected is not None, "see adapt_data.check_system"
        prediction = networks.regress(params, inputs.net, frames.maps)
        seen = networks.observe(prediction, inputs, frames)
        return FrameObservations(prediction.z, prediction.pose, seen, frames.detected)

    whole = with_whole_kernels(observe, networks.mesh)
    return jax.jit(whole, out_shardings=batch_sharding(networks.mesh))
