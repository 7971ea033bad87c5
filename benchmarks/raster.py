# SPDX-License-Identifier: Apache-2.0
"""Rasteriser, renderer and unwrap at the sizes of a Multiface capture.

The mesh is a sphere of 11,250 triangles that fills the frame as a head does.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.device import Rates
from benchmarks.measure import Row, program, race
from benchmarks.suite import Options
from i2z_jax.geometry.raster import depth_buffer, rasterize
from i2z_jax.geometry.render import render
from i2z_jax.geometry.topology import Topology, texel_map
from i2z_jax.geometry.unwrap import unwrap_frames

BATCH = 8


def rasterise(options: Options, rates: Rates) -> Iterator[Row]:
    """A batch of crops, depth alone and all of it, and one photo rendered."""
    vertices, topology = _globe(76, 76)
    faces = jnp.asarray(topology.faces)
    crops = jnp.stack([_centred(vertices, 100, 256, 256)] * BATCH)
    contenders = {
        name: program(
            jax.vmap(partial(each, height=256, width=256), (0, None)), crops, faces
        )
        for name, each in {"i2z_jax": rasterize, "depth alone": depth_buffer}.items()
    }
    yield from race("rasterise", "256 x 256", contenders, options, rates, BATCH)

    def photo(points, texture):
        return render(points, texture, topology, 2048, 1334)

    large = {"i2z_jax": program(photo, _centred(vertices, 600, 2048, 1334), _texture())}
    yield from race("rasterise", "render 1334 x 2048", large, options, rates, 1)


def unwrapping(options: Options, rates: Rates) -> Iterator[Row]:
    """Crops to textures, at the decoder's size and at the size adaptation uses."""
    vertices, topology = _globe(76, 76)
    faces = jnp.asarray(topology.faces)
    pose = jnp.array([0.008, 0.1, 0.3, 0.0, 0.0, 0.0], jnp.float32)
    image = _texture()[:256, :256]
    frames = [jnp.stack([x] * BATCH) for x in (image, vertices * 100, pose)]
    for size in (256, 1024):
        texels = jax.tree.map(jnp.asarray, texel_map(topology, size))
        ours = {"i2z_jax": program(unwrap_frames, *frames, texels, faces)}
        case = f"256 x 256 to {size} x {size}"
        yield from race("unwrap", case, ours, options, rates, BATCH)


def _texture() -> jax.Array:
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.random((1024, 1024, 3), np.float32))


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
