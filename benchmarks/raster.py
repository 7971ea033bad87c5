# SPDX-License-Identifier: Apache-2.0
"""Rasteriser, unwrap and render at the sizes of a Multiface capture, on this machine.

The mesh is a sphere of 11,250 triangles that fills the frame as a head does. Memory
is what XLA plans beside arguments and results of the compiled program.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Timing, race
from i2z_jax.geometry.raster import rasterize
from i2z_jax.geometry.render import render
from i2z_jax.geometry.topology import Topology, texel_map
from i2z_jax.geometry.unwrap import unwrap

BATCH = 8


def measure(rounds: int) -> tuple[dict[str, Timing], dict[str, float]]:
    """Seconds per call, and MiB of temporary memory, by task."""
    vertices, topology = _globe(76, 76)
    texture = jnp.asarray(np.random.default_rng(0).random((1024, 1024, 3), np.float32))
    pose = jnp.array([0.008, 0.1, 0.3, 0.0, 0.0, 0.0], jnp.float32)
    small = jnp.stack([_centred(vertices, 100, 256, 256)] * BATCH)
    photo = _centred(vertices, 600, 2048, 1334)
    image = texture[:256, :256]
    texels = texel_map(topology, 1024)
    faces = jnp.asarray(topology.faces)
    tasks = {
        f"rasterise 256 x 256, batch {BATCH}": (
            jax.vmap(lambda points: rasterize(points, faces, 256, 256)),
            (small,),
        ),
        "unwrap 256 x 256 to 1024 x 1024": (
            lambda *frame: unwrap(*frame, faces),
            (image, vertices * 100, pose, texels),
        ),
        "render 1334 x 2048": (
            lambda points, texture: render(points, texture, topology, 2048, 1334),
            (photo, texture),
        ),
    }
    programs = {
        name: (jax.jit(task), jax.device_put(arguments))
        for name, (task, arguments) in tasks.items()
    }
    memory = {
        name: task.lower(*arguments).compile().memory_analysis().temp_size_in_bytes
        / 2**20
        for name, (task, arguments) in programs.items()
    }
    timings = race(
        {
            name: lambda task=task, arguments=arguments: task(*arguments)
            for name, (task, arguments) in programs.items()
        },
        rounds=rounds,
    )
    return timings, memory


def _globe(around: int, down: int) -> tuple[jax.Array, Topology]:
    """A unit sphere with the map of the world as its texture."""
    u, v = np.meshgrid(np.linspace(0, 1, around), np.linspace(0, 1, down))
    angle, polar = 2 * np.pi * u, np.pi * (1 - v)
    vertices = np.stack(
        [np.sin(polar) * np.sin(angle), np.cos(polar), np.sin(polar) * np.cos(angle)],
        axis=-1,
    )
    index = np.arange(around * down, dtype=np.int32).reshape(down, around)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.stack([a, b, d, a, d, c], axis=-1).reshape(-1, 3)
    uvs = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)
    topology = Topology(faces, uvs, faces, len(uvs))
    return jnp.asarray(vertices.reshape(-1, 3), jnp.float32), topology


def _centred(vertices, radius, height, width):
    return vertices * radius + jnp.array([[width / 2, height / 2, 0.0]])
