# SPDX-License-Identifier: Apache-2.0
"""Expressions of the lab, drawn into the video: views with labels, in its light [ours].

A deep appearance model is a renderer, and a video's light and colours are fitted in
closed form (`objectives/colour.py`). So the network can be shown what it is to learn
with the answer beside it: a facial state of the capture, decoded, in the video's light,
on a frame of the video where the head is. The labels are exact, whatever the detector
thinks; the picture is as good as the fit by the network that is to be adapted. Drawn
once, and replayed beside the lab's own views.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from i2z_jax import console
from i2z_jax.data.batches import Example
from i2z_jax.geometry.camera import (
    bring_near,
    near_anchor,
    project_weak,
    view_direction,
)
from i2z_jax.geometry.render import render
from i2z_jax.geometry.topology import Topology
from i2z_jax.models.parameters import split_trained
from i2z_jax.objectives import colour
from i2z_jax.objectives.adapt import FaceMesh, Observation, texel_normals
from i2z_jax.objectives.landmarks import unit_range
from i2z_jax.sharding import parameter_shardings, put, replicated
from i2z_jax.system import System
from i2z_jax.train.frame_cache import FrameCache
from i2z_jax.train.look import (
    Given,
    Networks,
    look_at,
    whole_looks,
)
from i2z_jax.train.run import place
from i2z_jax.types import Array, Float, Int, NDArray

# Frames that are looked at and drawn on, at most, spread over the video.
FRAMES = 128
# Views that are drawn at a time.
CHUNK = 8
# Poses are drawn about those seen, in standard deviations of the capture's: a head that
# is a little elsewhere, and not so far that the seen one looks out from behind it.
JITTER = 0.15
# Pictures are drawn larger by this, and averaged.
OVERSAMPLING = 2


class Looks(NamedTuple):
    """What some frames of a video do to a face."""

    # Where the network sees the head.
    pose: Float[Array, "f 6"]
    # Exposure of each.
    gain: Float[Array, "f"]
    # Of the whole video: `colour.solve`.
    colours: Float[Array, "3 u"]


def rehearse(
    system: System,
    frames: FrameCache,
    face: FaceMesh,
    rows: Int[NDArray, "r"],
    z: Float[NDArray, "k z"],
    *,
    nearness: float,
    count: int,
    seed: int,
    mesh: Mesh,
) -> list[Example]:
    """Draw a video's head with other expressions.

    Args:
        frames: of the video, with their stream maps.
        rows: of `frames`: where to draw.
        z: facial states to choose from.
        nearness: of the video's camera, 1/mm.
        count: of the views.
        seed: of expressions, frames and jitter.

    Returns:
        `image` uint8, `pose`, `vertices` and `z`, for `lab_views.label_views`.
    """
    spread = np.linspace(0, len(rows) - 1, min(FRAMES, len(rows)))
    rows = rows[spread.round().astype(int)]
    graph, params, rest = split_trained(system.net)
    dam_graph, dam = nnx.split(system.dam)
    params = put(params, parameter_shardings(params, mesh))
    given = place(Given(rest, dam, frames, face, jnp.float32(nearness)), mesh)
    looks = _looks(Networks(graph, dam_graph, mesh), params, given, rows)
    painter = _Painter(dam_graph, system.topology)

    rng = np.random.default_rng(seed)
    where, which = rng.choice(len(rows), count), rng.choice(len(z), count)
    pose_std = np.asarray(system.net.pose_std[...])
    jitter = JITTER * pose_std * rng.normal(size=(count, 6))
    pose = (np.asarray(looks.pose)[where] + jitter).astype(np.float32)
    chosen = z[which].astype(np.float32)

    draw, drawn = jax.jit(painter.draw), []
    for start in console.progress(range(0, count, CHUNK), "rehearsal"):
        # The last ones begin earlier, to end where the views do: one shape.
        some = slice(max(0, min(start, count - CHUNK)), start + CHUNK)
        at = where[some]
        image, vertices = draw(given, looks, rows[at], at, chosen[some], pose[some])
        new = range(start - some.start, len(at))
        drawn += [(np.asarray(image[k]), np.asarray(vertices[k])) for k in new]
    return [
        {"image": image, "pose": p, "vertices": vertices, "z": state}
        for (image, vertices), p, state in zip(drawn, pose, chosen, strict=True)
    ]


def _looks(
    networks: Networks, params: Any, given: Given, rows: Int[NDArray, "r"]
) -> Looks:
    """Colours, and exposures given these."""
    mesh, whole = networks.mesh, whole_looks(rows, networks.mesh)
    found = look_at(networks, params, given, whole)
    equations_of = jax.jit(Observation.equations, out_shardings=replicated(mesh))
    equations = [equations_of(look.seen) for look in found]
    colours = colour.solve(jax.tree.map(lambda *x: sum(x) / len(x), *equations))

    def exposures(look, colours):
        seen = look.seen
        corrected = colour.correct(seen.decoded, seen.normals, colours)
        gain = colour.frame_gain(corrected, seen.observed, seen.visible)
        return look.pose, gain

    compiled = jax.jit(exposures, out_shardings=replicated(mesh))
    each = [compiled(look, colours) for look in found]
    pose, gain = map(jnp.concatenate, zip(*each, strict=True))
    return Looks(pose[: len(rows)], gain[: len(rows)], colours)


class _Painter(NamedTuple):
    """A pure function of what is given and rows."""

    dam: nnx.GraphDef
    topology: Topology

    def draw(self, given: Given, looks, row, at, z, pose):
        """Pictures, and meshes; `row` of the frames, `at` of the looks."""
        face, dam = given.face, nnx.merge(self.dam, given.dam)
        vertices = dam.decode_vertices(z)
        size = face.texel_map.triangle.shape[0]
        decoded = dam.decode_texture(z, view_direction(pose), size=size)
        normals = texel_normals(vertices, pose, face)
        texture = colour.correct(decoded, normals, looks.colours)
        texture = texture * looks.gain[at, None, None, None]
        near = bring_near(pose, vertices, given.nearness, near_anchor(pose, vertices))
        frame = unit_range(given.frames.image[row])
        over = jax.vmap(self._over)(frame, project_weak(pose, near), texture)
        return jnp.round(jnp.clip(over, 0, 1) * 255).astype(jnp.uint8), vertices

    def _over(self, frame, points, texture):
        """A face over a frame; its edge as soft as the oversampling."""
        height, width = (OVERSAMPLING * side for side in frame.shape[:2])
        scale = jnp.array([width / 2, height / 2, 1])
        points = (points + jnp.array([1.0, 1.0, 0.0])[None]) * scale[None]
        face, mask = render(points, texture, self.topology, height, width)
        layers = jnp.concatenate([face, mask[..., None].astype(face.dtype)], -1)
        shape = (height // OVERSAMPLING, OVERSAMPLING, width // OVERSAMPLING, -1, 4)
        layers = layers.reshape(shape).mean((1, 3))
        return layers[..., :3] + (1 - layers[..., 3:]) * frame
