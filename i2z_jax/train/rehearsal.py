# SPDX-License-Identifier: Apache-2.0
"""Expressions of the lab, drawn into the video: views with labels, in its light [ours].

A captured moment is a mesh, its texture and its facial state, and a video's light and
colours are fitted in closed form (`objectives/colour.py`). So the network can be shown
what it is to learn with the answer beside it: the moment, in the video's light, on a
frame of the video where the head is. Not the decoder's texture of that state, whose
lips and eyes are smoother than any picture's and are marked elsewhere by the landmark
detector. The labels are exact, whatever the detector thinks; the picture is as good as
the fit by the network that is to be adapted. Drawn once, and replayed beside the lab's
own views.
"""

from functools import partial
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from i2z_jax import console
from i2z_jax.chunks import chunks
from i2z_jax.data.batches import Example, Source
from i2z_jax.geometry.camera import project_weak, seen_from_near
from i2z_jax.geometry.render import render
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.geometry.topology import Topology
from i2z_jax.models.parameters import split_trained
from i2z_jax.objectives import colour
from i2z_jax.objectives.adapt import texel_normals
from i2z_jax.objectives.face_mesh import FaceMesh
from i2z_jax.sharding import parameter_shardings, put, replicate, replicated
from i2z_jax.spacing import evenly_spaced
from i2z_jax.system import System
from i2z_jax.train.frame_cache import FrameCache
from i2z_jax.train.observe_frames import (
    Graphs,
    RunInputs,
    in_groups,
    mean_equations,
    observe_frames,
)
from i2z_jax.types import Array, Float, Int, NDArray, UInt8

# Frames that are looked at and drawn on, at most, spread over the video.
FRAMES = 128
# Views that are drawn at a time.
CHUNK = 8
# Poses are drawn about those seen, in standard deviations of the capture's: a head that
# is a little elsewhere, and not so far that the seen one looks out from behind it.
JITTER = 0.15
# Pictures are drawn larger by this, and averaged.
OVERSAMPLING = 2


class FrameAppearance(NamedTuple):
    """Head pose, exposure and colour of some frames of a video."""

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
    moments: Source,
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
        moments: of the capture, to choose from: `vertices`, `average_texture` and `z`.
        nearness: of the video's camera, 1/mm.
        count: of the views.
        seed: of expressions, frames and jitter.

    Returns:
        `image` uint8, `pose`, `vertices` and `z`, for `lab_views.label_views`.
    """
    rows = rows[evenly_spaced(len(rows), FRAMES)]
    graph, params, rest = split_trained(system.net)
    dam_graph, dam = nnx.split(system.dam)
    params = put(params, parameter_shardings(params, mesh))
    inputs = replicate(RunInputs(rest, dam, frames, face, jnp.float32(nearness)), mesh)
    appearance = _appearance(Graphs(graph, dam_graph, mesh), params, inputs, rows)

    rng = np.random.default_rng(seed)
    where, which = rng.choice(len(rows), count), rng.choice(len(moments), count)
    pose_std = np.asarray(system.net.pose_std[...])
    jitter = JITTER * pose_std * rng.normal(size=(count, 6))
    pose = (np.asarray(appearance.pose)[where] + jitter).astype(np.float32)

    draw, drawn = jax.jit(partial(_draw, system.topology)), []
    for some, new in console.progress(chunks(count, CHUNK), "rehearsal"):
        chosen = [moments[int(k)] for k in which[some]]
        vertices = np.stack([m["vertices"] for m in chosen])
        texture = np.stack([_small(m["average_texture"], face) for m in chosen])
        at = where[some]
        image = np.asarray(
            draw(inputs, appearance, rows[at], at, vertices, texture, pose[some])
        )
        for k in range(CHUNK)[new]:
            labels = {name: chosen[k][name] for name in ("vertices", "z")}
            drawn.append({"image": image[k], "pose": pose[some][k], **labels})
    return drawn


def _appearance(
    networks: Graphs, params: Any, inputs: RunInputs, rows: Int[NDArray, "r"]
) -> FrameAppearance:
    """Colours, and exposures given these."""
    mesh, groups = networks.mesh, in_groups(rows, networks.mesh)
    found = observe_frames(networks, params, inputs, groups)
    colours = colour.solve(mean_equations(groups, found, mesh))

    def exposures(some, colours):
        return some.pose, some.seen.face.corrected(colours)[1]

    compiled = jax.jit(exposures, out_shardings=replicated(mesh))
    each = [
        jax.tree.map(lambda x, n=group.count: x[:n], compiled(each, colours))
        for group, each in zip(groups, found, strict=True)
    ]
    pose, gain = map(jnp.concatenate, zip(*each, strict=True))
    return FrameAppearance(pose, gain, colours)


def _draw(
    topology: Topology, inputs: RunInputs, appearance, row, at, vertices, texture, pose
):
    """Pictures; `row` of the frames, `at` of their appearance."""
    normals = texel_normals(vertices, pose, inputs.face.arrays)
    texture = colour.correct(unit_range(texture), normals, appearance.colours)
    texture = texture * appearance.gain[at, None, None, None]
    near = seen_from_near(pose, vertices, inputs.nearness)
    frame = unit_range(inputs.frames.image[row])
    over = jax.vmap(partial(_over, topology))
    image = over(frame, project_weak(pose, near), texture)
    return jnp.round(jnp.clip(image, 0, 1) * 255).astype(jnp.uint8)


def _over(topology: Topology, frame, points, texture):
    """A face over a frame; its edge as soft as the oversampling."""
    height, width = (OVERSAMPLING * side for side in frame.shape[:2])
    scale = jnp.array([width / 2, height / 2, 1])
    points = (points + jnp.array([1.0, 1.0, 0.0])[None]) * scale[None]
    face, mask = render(points, texture, topology, height, width)
    layers = jnp.concatenate([face, mask[..., None].astype(face.dtype)], -1)
    shape = (height // OVERSAMPLING, OVERSAMPLING, width // OVERSAMPLING, -1, 4)
    layers = layers.reshape(shape).mean((1, 3))
    return layers[..., :3] + (1 - layers[..., 3:]) * frame


def _small(texture: UInt8[NDArray, "t t 3"], face: FaceMesh) -> UInt8[NDArray, "s s 3"]:
    """A texture at the size at which the video is looked at."""
    size = face.arrays.texel_map.triangle.shape[0]
    return cv2.resize(texture, (size, size), interpolation=cv2.INTER_AREA)
