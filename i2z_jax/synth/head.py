# SPDX-License-Identifier: Apache-2.0
"""The procedural head: expression weights -> vertices in head space (DESIGN section 8).

Put together from the template (`template`), a person (`identity`), controls
(`expressions`) and skin (`skin`).
"""

import functools
from dataclasses import dataclass

import numpy as np

from i2z_jax.geometry.topology import Topology
from i2z_jax.synth import expressions
from i2z_jax.synth.form import EYE_AXES, EYE_CENTRE, eye_frame
from i2z_jax.synth.identity import EyePlace, Identity, deform, place_eye
from i2z_jax.synth.skin import Appearance, paint
from i2z_jax.synth.template import (
    JAW_AXIS_Y,
    JAW_AXIS_Z,
    Template,
    template,
)
from i2z_jax.types import ArrayLike, Float, NDArray


def procedural_head(
    identity: Identity | None = None, vertices: int = 7000
) -> "ProceduralHead":
    """A head of about so many vertices (500 or more)."""
    return ProceduralHead(identity or Identity(), vertices)


@dataclass(frozen=True, eq=False)
class ProceduralHead:
    """A person's head at one resolution."""

    identity: Identity
    size: int

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
        a = {name: xp.asarray(v, dtype=flat.dtype) for name, v in self._arrays.items()}
        points = a["base"][None] + xp.tensordot(flat, a["push"], axes=1)
        points = points + _slide_lids(xp, flat, a)
        points = _turn_eyes(xp, flat, a, points)
        points = _turn_jaw(xp, flat, a, points)
        return xp.reshape(points, (*weights.shape[:-1], *points.shape[1:]))

    def appearance(self, size: int) -> Appearance:
        """What the skin looks like, as textures of `size` x `size`."""
        return paint(self.identity, size)

    @functools.cached_property
    def _template(self) -> Template:
        return template(self.size)

    @functools.cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        shape, controls = self._template, _rig(self.size)
        base, place = deform(shape.vertices, self.identity)
        arrays = {
            "base": base, "push": controls.push, "jaw": shape.jaw,
            "jaw_mix": controls.jaw_mix, "look_mix": controls.look_mix,
            "lid_mix": controls.lid_mix, "lid_reach": controls.lid_reach,
            "closed": np.array([place.closed, 0.0] * 2),
        }  # fmt: skip
        for side, name in ((1, "left"), (-1, "right")):
            arrays[f"axes_{name}"] = _eye_matrix(place, side)
            sign = np.array([side, 1, 1])
            local = (shape.vertices * sign - EYE_CENTRE) @ eye_frame() / EYE_AXES
            arrays[f"lid_{name}"] = local
            eye = np.where((shape.part == f"eye_{name}")[:, None], shape.vertices, 0)
            arrays[f"sphere_{name}"] = eye
            arrays[f"centre_{name}"] = place.centre * sign
        eyes = np.char.startswith(shape.part, "eye_")
        arrays["base"] = np.where(eyes[:, None], 0, base)
        return arrays


@functools.lru_cache(maxsize=4)
def _rig(size: int) -> expressions.Rig:
    return expressions.rig(template(size))


def _eye_matrix(place: EyePlace, side: int) -> Float[NDArray, "3 3"]:
    """Unit sphere around an eye -> head space, without the centre."""
    local = np.diag(EYE_AXES) @ eye_frame().T
    centred = place_eye(local, place) - place.centre
    return centred * np.array([side, 1, 1])


def _slide_lids(xp, weights, a):
    """Lids turn about the eye's own horizontal axis, keeping their distance to it."""
    share = weights @ a["lid_mix"] + a["closed"][None]
    moves = 0
    for i, name in enumerate(("left", "right")):
        lower = xp.clip(share[:, 2 * i + 1], -0.3, 0.45)
        upper = xp.minimum(share[:, 2 * i], 1.03 - lower)
        upper = xp.maximum(upper, xp.full_like(upper, -0.35))
        reach = a["lid_reach"]
        angle = (
            upper[:, None] * reach[2 * i][None]
            + lower[:, None] * reach[2 * i + 1][None]
        )
        x, y, z = (a[f"lid_{name}"][None, :, j] for j in range(3))
        c, s = xp.cos(angle) - 1, xp.sin(angle)
        turned = xp.stack([x * xp.zeros_like(angle), y * c + z * s, z * c - y * s], -1)
        moves = moves + turned @ a[f"axes_{name}"]
    return moves


def _turn_eyes(xp, weights, a, points):
    look = weights @ a["look_mix"]
    rest = np.arctan2(-eye_frame()[0, 2] / EYE_AXES[0], eye_frame()[2, 2] / EYE_AXES[2])
    for side, name in ((1, "left"), (-1, "right")):
        up, out = look[:, 0], side * look[:, 1] + rest
        x, y, z = (a[f"sphere_{name}"][None, :, j] for j in range(3))
        cu, su, co, so = (
            v[:, None] for v in (xp.cos(up), xp.sin(up), xp.cos(out), xp.sin(out))
        )
        y, z = y * cu + z * su, z * cu - y * su
        x, z = x * co + z * so, z * co - x * so
        placed = xp.stack([x, y, z], -1) @ a[f"axes_{name}"]
        drawn = xp.any(a[f"sphere_{name}"] != 0, axis=-1)[None, :, None]
        points = points + xp.where(drawn, placed + a[f"centre_{name}"][None, None], 0)
    return points


def _turn_jaw(xp, weights, a, points):
    """The jaw opens about an axis through its joints, and swings to the sides."""
    move = weights @ a["jaw_mix"]
    angle = move[:, :1] * a["jaw"][None]
    swing = move[:, 1:2] * a["jaw"][None]
    x, y, z = points[..., 0], points[..., 1] - JAW_AXIS_Y, points[..., 2] - JAW_AXIS_Z
    y, z = (
        y * xp.cos(angle) - z * xp.sin(angle),
        z * xp.cos(angle) + y * xp.sin(angle),
    )
    x, z = x + z * xp.sin(swing), z * xp.cos(swing)
    z = z + move[:, 2:] * a["jaw"][None]
    return xp.stack([x, y + JAW_AXIS_Y, z + JAW_AXIS_Z], -1)
