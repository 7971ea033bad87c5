# SPDX-License-Identifier: Apache-2.0
"""Interface between heads (procedural, scanned, test pattern) and renderers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np

from i2z_jax.geometry.mesh_arrays import MeshArrays, mesh_arrays
from i2z_jax.geometry.topology import Topology, landmark_points
from i2z_jax.synth.shade import Light
from i2z_jax.types import Array, Float, NDArray

# (vertices n 3 mm, camera position 3 mm, light) -> texture t t 3, linear colours in
# [0, 1], row 0 at v = 0; all in head space. Traceable by JAX. Light None is the stage's
# lighting.
Shader = Callable[[Array, Array, Light | None], Array]


@runtime_checkable
class Head(Protocol):
    """A shape with named expressions."""

    @property
    def topology(self) -> Topology: ...

    @property
    def expression_names(self) -> tuple[str, ...]: ...

    def vertices(self, weights: Float[Array, "*b k"]) -> Float[Array, "*b n 3"]:
        """Head space, mm; all weights 0 is the neutral face, 1 a full expression."""
        ...


@dataclass(frozen=True)
class Subject:
    """A head and its skin at one texture size."""

    head: Head
    shade: Shader
    texture_size: int

    @cached_property
    def mesh(self) -> MeshArrays:
        """The head's mesh with the texels of its textures."""
        return mesh_arrays(self.head.topology, self.texture_size)


def face_centre(head: Head) -> Float[NDArray, "3"]:
    """Where cameras look: the middle of the neutral face's landmarks, head space, mm.

    Heads need not agree on where their origin is.
    """
    neutral = head.vertices(jnp.zeros(len(head.expression_names)))
    marks = landmark_points(head.topology, np.asarray(neutral, float))
    return (marks.min(axis=0) + marks.max(axis=0)) / 2 * [1.0, 1.0, 0.0]
