# SPDX-License-Identifier: Apache-2.0
"""The procedural head as a subject of captures, pictures and videos (`subject`)."""

from typing import Any

import jax
import jax.numpy as jnp

from i2z_jax.geometry.topology import texel_map
from i2z_jax.synth.head import procedural_head
from i2z_jax.synth.identity import Identity
from i2z_jax.synth.shade import Light, lab_light, shade
from i2z_jax.synth.subject import Subject
from i2z_jax.types import Array

# A sky of mean 1 (`cast.outdoor_light`): this much of it is even, the rest a lamp's.
SKY_SHARE, LAMP_SHARE = 0.62, 0.5


def procedural_subject(
    identity: Identity | None = None, *, vertices: int = 7000, texture_size: int = 1024
) -> Subject:
    """A person to photograph.

    The painter takes as light None (the stage's), a `Light`, or spherical harmonics
    (9, 3) of irradiance with mean 1.
    """
    head = procedural_head(identity, vertices)
    texels = texel_map(head.topology, texture_size)
    appearance = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float32), head.appearance(texture_size)
    )

    def paint(points: Array, position: Array, light: Any) -> Array:
        return _paint(
            head.topology.faces, head.topology.uvs, head.topology.uv_faces,
            texels, appearance, points, position, as_light(light),
        )  # fmt: skip

    return Subject(head, paint, texture_size)


@jax.jit
def _paint(faces, uvs, uv_faces, texels, appearance, points, position, light):
    return shade(appearance, points, faces, uvs, uv_faces, texels, light, position)


def as_light(light: Any) -> Light:
    """The light of a subject's painter; see `procedural_subject`."""
    if light is None:
        return lab_light()
    if isinstance(light, Light):
        return light
    sky = jnp.asarray(light, jnp.float32)
    # The brighter side of the sky becomes a lamp, or nothing would shine.
    towards = jnp.stack([sky[3].mean(), sky[1].mean(), sky[2].mean()])
    strength = jnp.sqrt(jnp.sum(towards**2) + 1e-8)
    towards = towards / strength + jnp.asarray([0.0, 0.15, 0.5])
    towards = towards / jnp.sqrt(jnp.sum(towards**2))
    lamp = LAMP_SHARE * (0.5 + jnp.minimum(strength, 1)) * sky[0]
    return Light(SKY_SHARE * sky, towards[None], lamp[None])
