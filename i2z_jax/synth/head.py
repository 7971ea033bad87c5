# SPDX-License-Identifier: Apache-2.0
"""The procedural head: expression weights -> vertices in head space (DESIGN section 8).

Combines template (`template`), identity (`identity`), expression controls
(`expressions`) and skin (`skin`).
"""

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import numpy as np

from i2z_jax.geometry.topology import Topology
from i2z_jax.synth import expressions
from i2z_jax.synth.appearance import Appearance
from i2z_jax.synth.expressions import Controls
from i2z_jax.synth.form import EYE_AXES, EYE_CENTRE, eye_frame
from i2z_jax.synth.identity import EyePlace, Identity, deform, place_eye
from i2z_jax.synth.skin import paint
from i2z_jax.synth.template import (
    JAW_AXIS_Y,
    JAW_AXIS_Z,
    Template,
    template,
)
from i2z_jax.types import ArrayLike, Float, NDArray


class Eye(NamedTuple):
    """Geometry of one eye: its frame, centre, and vertices in that frame."""

    axes: Float[ArrayLike, "3 3"]
    """Unit sphere around the eye -> head space, without the centre."""
    centre: Float[ArrayLike, "3"]
    around: Float[ArrayLike, "n 3"]
    """Every vertex of the template in the frame of this unit sphere."""
    ball: Float[ArrayLike, "n 3"]
    """The eyeball's own vertices on it, 0 for all others."""


class Pieces(NamedTuple):
    """A person's rest shape and the arrays that deform it.

    `Controls` has the shapes.
    """

    base: Float[ArrayLike, "n 3"]
    """mm; 0 for the eyeballs, which `left` and `right` place."""
    jaw: Float[ArrayLike, " n"]
    """Jaw skinning weight of each vertex."""
    closed: Float[ArrayLike, "4"]
    """Lid closure at rest, added to `weights @ lid_mix`."""
    controls: Controls
    left: Eye
    right: Eye


@dataclass(frozen=True, eq=False)
class ProceduralHead:
    """A person's head at one resolution.

    Args:
        identity: shape and colour of the person.
        size: about how many vertices, 500 or more.
    """

    identity: Identity = field(default_factory=Identity)
    size: int = 7000

    @property
    def topology(self) -> Topology:
        return self._template.topology

    @property
    def expression_names(self) -> tuple[str, ...]:
        return expressions.NAMES

    @functools.cached_property
    def neutral(self) -> Float[NDArray, "n 3"]:
        """Vertices of the face at rest, head space, mm."""
        return self.vertices(np.zeros(len(self.expression_names)))

    def vertices(self, weights: Float[ArrayLike, "*b k"]) -> Float[ArrayLike, "*b n 3"]:
        """Vertices under expressions, head space, mm.

        Args:
            weights: of `expression_names`, in [0, 1]. JAX in, JAX out (jit, vmap and
                grad apply); float64 NumPy in, float64 NumPy out.
        """
        xp = weights.__array_namespace__()
        flat = xp.reshape(weights, (-1, weights.shape[-1]))
        face = jax.tree.map(lambda v: xp.asarray(v, dtype=flat.dtype), self._pieces)
        points = face.base[None] + xp.tensordot(flat, face.controls.push, axes=1)
        points = points + _slide_lids(xp, flat, face)
        points = _turn_eyes(xp, flat, face, points)
        points = _turn_jaw(xp, flat, face, points)
        return xp.reshape(points, (*weights.shape[:-1], *points.shape[1:]))

    def appearance(self, size: int) -> Appearance:
        """Material textures of `size` x `size` texels."""
        return paint(self.identity, size)

    @functools.cached_property
    def _template(self) -> Template:
        return template(self.size)

    @functools.cached_property
    def _pieces(self) -> Pieces:
        shape = self._template
        base, place = deform(shape.vertices, self.identity)
        eyes = np.char.startswith(shape.part, "eye_")
        return Pieces(
            base=np.where(eyes[:, None], 0, base),
            jaw=shape.jaw,
            closed=np.array([place.closed, 0.0] * 2),
            controls=_controls(self.size),
            left=_eye(shape, place, "left"),
            right=_eye(shape, place, "right"),
        )


@functools.lru_cache(maxsize=4)
def _controls(size: int) -> Controls:
    return expressions.controls(template(size))


def _eye(shape: Template, place: EyePlace, name: str) -> Eye:
    side = 1 if name == "left" else -1
    sign = np.array([side, 1, 1])
    mine = shape.part == f"eye_{name}"
    return Eye(
        axes=_eye_matrix(place, side),
        centre=place.centre * sign,
        around=(shape.vertices * sign - EYE_CENTRE) @ eye_frame() / EYE_AXES,
        ball=np.where(mine[:, None], shape.vertices, 0),
    )


def _eye_matrix(place: EyePlace, side: int) -> Float[NDArray, "3 3"]:
    """Unit sphere around an eye -> head space, without the centre."""
    local = np.diag(EYE_AXES) @ eye_frame().T
    centred = place_eye(local, place) - place.centre
    return centred * np.array([side, 1, 1])


def _slide_lids(xp, weights, face: Pieces):
    """Lids turn about the eye's own horizontal axis, keeping their distance to it."""
    share = weights @ face.controls.lid_mix + face.closed[None]
    reach = face.controls.lid_reach
    moves = 0
    for i, eye in enumerate((face.left, face.right)):
        lower = xp.clip(share[:, 2 * i + 1], -0.3, 0.45)
        upper = xp.minimum(share[:, 2 * i], 1.03 - lower)
        upper = xp.maximum(upper, xp.full_like(upper, -0.35))
        angle = (
            upper[:, None] * reach[2 * i][None]
            + lower[:, None] * reach[2 * i + 1][None]
        )
        y, z = eye.around[None, :, 1], eye.around[None, :, 2]
        c, s = xp.cos(angle) - 1, xp.sin(angle)
        turned = xp.stack([xp.zeros_like(angle), y * c + z * s, z * c - y * s], -1)
        moves = moves + turned @ eye.axes
    return moves


def _turn_eyes(xp, weights, face: Pieces, points):
    look = weights @ face.controls.look_mix
    rest = np.arctan2(-eye_frame()[0, 2] / EYE_AXES[0], eye_frame()[2, 2] / EYE_AXES[2])
    for side, eye in ((1, face.left), (-1, face.right)):
        up, out = look[:, 0], side * look[:, 1] + rest
        x, y, z = (eye.ball[None, :, j] for j in range(3))
        cu, su, co, so = (
            v[:, None] for v in (xp.cos(up), xp.sin(up), xp.cos(out), xp.sin(out))
        )
        y, z = y * cu + z * su, z * cu - y * su
        x, z = x * co + z * so, z * co - x * so
        placed = xp.stack([x, y, z], -1) @ eye.axes
        drawn = xp.any(eye.ball != 0, axis=-1)[None, :, None]
        points = points + xp.where(drawn, placed + eye.centre[None, None], 0)
    return points


def _turn_jaw(xp, weights, face: Pieces, points):
    """The jaw opens about an axis through its joints, and swings to the sides."""
    move = weights @ face.controls.jaw_mix
    angle = move[:, :1] * face.jaw[None]
    swing = move[:, 1:2] * face.jaw[None]
    x, y, z = points[..., 0], points[..., 1] - JAW_AXIS_Y, points[..., 2] - JAW_AXIS_Z
    y, z = (
        y * xp.cos(angle) - z * xp.sin(angle),
        z * xp.cos(angle) + y * xp.sin(angle),
    )
    x, z = x + z * xp.sin(swing), z * xp.cos(swing)
    z = z + move[:, 2:] * face.jaw[None]
    return xp.stack([x, y + JAW_AXIS_Y, z + JAW_AXIS_Z], -1)
