# SPDX-License-Identifier: Apache-2.0
"""From the capture stage's colours and light to a video's: fitted, not learned.

DESIGN section 6 (MOTC) asks for a per-video colour correction, a 3x4 affine map plus a
gain per frame. In the wild the light is not the stage's either: it comes from
somewhere, and stays there while the head turns. So each channel of the observed colour
is a linear function of the decoded one d and of the normal n in camera space [ours]:

    o_c = a_c . d + b_c + d_c sum_k l_ck Y_k(n),   k = 1..8,

spherical harmonics Y of second order, which describe the light on a matte surface to
99 % (Ramamoorthi and Hanrahan 2001). Twelve numbers a channel, the same for the whole
video: their normal equations are averaged over the steps, and solved in closed form.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp

from i2z_jax.types import Array, Float

# Accelerators would round the factors to 8 or 11 bits.
_einsum = partial(jnp.einsum, precision="highest")

UNKNOWNS = 12
# Pulls the map toward the identity where a video says nothing, in units of texels'
# mean squared colour.
RIDGE = 1e-3
# What a step leaves of the older equations.
MEMORY = 0.98


class ColourEquations(NamedTuple):
    """Running normal equations of one video, per channel."""

    gram: Float[Array, "3 u u"]
    moment: Float[Array, "3 u"]

    @classmethod
    def empty(cls) -> "ColourEquations":
        """Before the first frame."""
        return cls(jnp.zeros((3, UNKNOWNS, UNKNOWNS)), jnp.zeros((3, UNKNOWNS)))


def equations_of(
    decoded: Float[Array, "b t t 3"],
    observed: Float[Array, "b t t 3"],
    normals: Float[Array, "b t t 3"],
    weight: Float[Array, "b t t"],
) -> ColourEquations:
    """Normal equations of some frames, mean over their texels by `weight`."""
    basis = colour_basis(decoded, normals)
    total = jnp.maximum(weight.sum(), 1e-6)
    weighted = basis * (weight / total)[..., None, None]
    return ColourEquations(
        _einsum("bijcu,bijcv->cuv", weighted, basis),
        _einsum("bijcu,bijc->cu", weighted, observed),
    )


def accumulate(equations: ColourEquations, batch: ColourEquations) -> ColourEquations:
    """Running mean: the batch's equations in, the older ones faded by `MEMORY`."""
    return ColourEquations(
        *(MEMORY * a + (1 - MEMORY) * b for a, b in zip(equations, batch, strict=True))
    )


def solve(equations: ColourEquations) -> Float[Array, "3 u"]:
    """The map: twelve coefficients a channel, the identity before the first frame."""
    identity = jnp.eye(3, UNKNOWNS)
    scale = jnp.maximum(jnp.trace(equations.gram, axis1=1, axis2=2), 1e-6) / UNKNOWNS
    ridge = RIDGE * scale[:, None, None] * jnp.eye(UNKNOWNS)[None]
    pull = _einsum("cuv,cv->cu", ridge, identity)
    right = (equations.moment + pull)[..., None]
    return jnp.linalg.solve(equations.gram + ridge, right)[..., 0]


def correct(
    decoded: Float[Array, "b t t 3"],
    normals: Float[Array, "b t t 3"],
    coefficients: Float[Array, "3 u"],
) -> Float[Array, "b t t 3"]:
    """Decoded texture in the video's colours and light."""
    return _einsum("bijcu,cu->bijc", colour_basis(decoded, normals), coefficients)


def frame_gain(
    corrected: Float[Array, "b t t 3"],
    observed: Float[Array, "b t t 3"],
    weight: Float[Array, "b t t"],
) -> Float[Array, "b"]:
    """Exposure of each frame: the least-squares factor from corrected to observed."""
    weight = weight[..., None]
    top = jnp.sum(weight * corrected * observed, axis=(1, 2, 3))
    bottom = jnp.sum(weight * corrected * corrected, axis=(1, 2, 3))
    # A frame without a visible texel keeps its exposure.
    return jnp.where(bottom > 1e-6, top / jnp.maximum(bottom, 1e-6), 1.0)


def colour_basis(
    decoded: Float[Array, "b t t 3"], normals: Float[Array, "b t t 3"]
) -> Float[Array, "b t t 3 u"]:
    """What the observed colour is linear in, per channel: d, 1, d_c Y_1..8(n)."""
    shared = jnp.concatenate([decoded, jnp.ones_like(decoded[..., :1])], -1)
    shared = jnp.broadcast_to(shared[..., None, :], (*decoded.shape, 4))
    shaded = decoded[..., None] * _harmonics(normals)[..., None, :]
    return jnp.concatenate([shared, shaded], -1)


def _harmonics(n: Float[Array, "*b 3"]) -> Float[Array, "*b 8"]:
    """Real spherical harmonics of orders 1 and 2, up to constants."""
    x, y, z = n[..., 0], n[..., 1], n[..., 2]
    order1 = [x, y, z]
    order2 = [x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1]
    return jnp.stack(order1 + order2, -1)
