# SPDX-License-Identifier: Apache-2.0
"""The procedural head as a subject of captures, pictures and videos (`subject`)."""

import jax
import jax.numpy as jnp

from i2z_jax.geometry.topology import texel_map
from i2z_jax.synth.head import ProceduralHead
from i2z_jax.synth.identity import Identity
from i2z_jax.synth.shade import Light, lab_light, shade
from i2z_jax.synth.subject import Subject
from i2z_jax.types import Array


def procedural_subject(
    identity: Identity | None = None, *, vertices: int = 7000, texture_size: int = 1024
) -> Subject:
    """A person to photograph.

    The painter takes as light a `Light`, or None for the stage's.
    """
    head = ProceduralHead(identity or Identity(), vertices)
    texels = texel_map(head.topology, texture_size)
    appearance = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float32), head.appearance(texture_size)
    )

    def paint(points: Array, position: Array, light: Light | None) -> Array:
        light = lab_light() if light is None else light
        return _paint(
            head.topology.faces, head.topology.uvs, head.topology.uv_faces,
            texels, appearance, points, position, light,
        )  # fmt: skip

    return Subject(head, paint, texture_size)


@jax.jit
def _paint(faces, uvs, uv_faces, texels, appearance, points, position, light):
    return shade(appearance, points, faces, uvs, uv_faces, texels, light, position)
