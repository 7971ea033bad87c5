# SPDX-License-Identifier: Apache-2.0
"""The procedural head as a `Subject`."""

import jax
import jax.numpy as jnp

from i2z_jax.geometry.mesh_arrays import mesh_arrays
from i2z_jax.synth.head import ProceduralHead
from i2z_jax.synth.shade import Light, lab_light, shade
from i2z_jax.synth.subject import Subject
from i2z_jax.types import Array


def procedural_subject(head: ProceduralHead, texture_size: int) -> Subject:
    """A procedural head with its skin."""
    mesh = mesh_arrays(head.topology, texture_size)
    appearance = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float32), head.appearance(texture_size)
    )

    def shaded(points: Array, position: Array, light: Light | None) -> Array:
        light = lab_light() if light is None else light
        return shade(appearance, points, mesh, light, position)

    return Subject(head, shaded, texture_size)
