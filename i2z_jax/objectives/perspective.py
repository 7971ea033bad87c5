# SPDX-License-Identifier: Apache-2.0
"""How near a video's camera is: fitted, not learned [ours].

H is a weak-perspective camera (DESIGN section 5), true of a stage's far cameras. A
phone at arm's length sees a nose 15 % larger than the ears: the landmarks are several
pixels from where H puts them, and in adaptation a network would bend pose and face to
explain it. One number a video does: its nearness k, the inverse of the distance of the
camera, in `p = f (R G)_xy / (1 + k (R G)_z) + t`, less what H, which is fitted to the
whole mesh, has of it already (`camera.near_anchor`). It is the least-squares fit to
what the landmarks leave over when each frame's scale, place and turn, which are H's to
explain, are taken out; averaged over the steps like the colours (`colour.py`). Where
the detector was calibrated on lab views (`train/landmark_bias.py`), k counts from
there.
"""

from typing import NamedTuple

import jax.numpy as jnp

from i2z_jax.geometry.camera import project_weak, weak_motion
from i2z_jax.types import Array, Float

# No camera is nearer than 25 cm, 1/mm.
NEAREST = 1 / 250
# mm² px² of a 256 px crop: without evidence, a camera is far.
RIDGE = 1e2


class NearnessEquations(NamedTuple):
    """Running normal equation of one video."""

    gram: Float[Array, ""]
    moment: Float[Array, ""]

    @classmethod
    def empty(cls) -> "NearnessEquations":
        """Before the first frame."""
        return cls(jnp.zeros(()), jnp.zeros(()))


def equations_of(
    pose: Float[Array, "b 6"],
    points: Float[Array, "b l 3"],
    detected: Float[Array, "b l 2"],
    trust: Float[Array, "b l"],
    *,
    image_size: int,
) -> NearnessEquations:
    """Normal equation of some frames, to first order in k.

    Args:
        pose: H.
        points: the mesh's landmarks, mm, head space.
        detected: px of the crop.
        trust: weight of each.
        image_size: side of the crop, px.
    """
    seen = project_weak(pose, points)
    flat = seen[..., :2] - pose[:, None, 4:6]
    # In px of a 256 px crop, whatever the crop's size.
    left = (detected * (2 / image_size) - 1 - seen[..., :2]) * 128
    slope = -flat * seen[..., 2:] * 128
    share = trust[..., None] / jnp.maximum(trust.sum(-1), 1e-6)[:, None, None]
    left, slope = (_without_pose(x, flat, seen[..., 2:], share) for x in (left, slope))
    weight = trust[..., None] / jnp.maximum(trust.sum(), 1e-6)
    return NearnessEquations(
        jnp.sum(weight * slope * slope), jnp.sum(weight * slope * left)
    )


def accumulate(
    equations: NearnessEquations, batch: NearnessEquations, *, memory: float = 0.98
) -> NearnessEquations:
    """Running mean: the batch's equation in, the older ones faded by `memory`."""
    return NearnessEquations(
        *(memory * a + (1 - memory) * b for a, b in zip(equations, batch, strict=True))
    )


def solve(equations: NearnessEquations) -> Float[Array, ""]:
    """k, 1/mm: 0 for a far camera, at most `NEAREST`."""
    k = equations.moment / (equations.gram + RIDGE)
    return jnp.clip(k, 0.0, NEAREST)


def _without_pose(
    x: Float[Array, "b l 2"],
    flat: Float[Array, "b l 2"],
    depth: Float[Array, "b l 1"],
    weight: Float[Array, "b l 1"],
) -> Float[Array, "b l 2"]:
    """What of a displacement another H would not explain."""
    scale, tilt, shift = (each[:, None] for each in weak_motion(x, flat, depth, weight))
    return x - scale * flat - tilt * depth - shift
