# SPDX-License-Identifier: Apache-2.0
"""Every loss term, un-reduced (DESIGN section 6).

A function here returns one value per sample of what it compares (per vertex, per
texel, per landmark); weights, masks and means are applied once, in `objectives/`.
All of it is float32: bfloat16 inputs are widened first.
"""

from collections.abc import Mapping

import jax.numpy as jnp

from i2z_jax.geometry.camera import project_weak
from i2z_jax.types import Array, Bool, Float


def _float32(*arrays: Array) -> tuple[Array, ...]:
    return tuple(jnp.asarray(a, jnp.float32) for a in arrays)


# Up to which a difference counts by its square: of distances, for a finite gradient at
# zero; of colours in [0, 1], a sensor's noise.
LEAST, NOISE = 1e-6, 1e-2


def norm(x: Float[Array, "*b d"]) -> Float[Array, "*b"]:
    """Euclidean length over the last axis: sqrt(|x|² + ε²) - ε, ε = `LEAST`."""
    return jnp.sqrt(jnp.sum(x * x, -1) + LEAST**2) - LEAST


def charbonnier(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """ρ(x) = sqrt(x² + ε²) - ε, ε = `NOISE` (Charbonnier et al. 1994)."""
    return jnp.sqrt(x * x + NOISE**2) - NOISE


# Supervised regression through the frozen decoder.


def latent_loss(
    z: Float[Array, "*b z"], target: Float[Array, "*b z"]
) -> Float[Array, "*b z"]:
    """(ẑ - z)² per component; the target is the DAM's posterior mean."""
    z, target = _float32(z, target)
    return (z - target) ** 2


def vertex_loss(
    vertices: Float[Array, "*b n 3"], target: Float[Array, "*b n 3"]
) -> Float[Array, "*b n"]:
    """Distance of each vertex to its target, mm."""
    vertices, target = _float32(vertices, target)
    return norm(vertices - target)


def texture_loss(difference: Float[Array, "*b t t 3"]) -> Float[Array, "*b t t"]:
    """Square of each texel's colour difference, mean over RGB in [0, 1]."""
    return jnp.mean(difference.astype(jnp.float32) ** 2, -1)


def reprojection_loss(
    pose: Float[Array, "*b 6"],
    target: Float[Array, "*b 6"],
    vertices: Float[Array, "*b n 3"],
    *,
    image_size: int,
) -> Float[Array, "*b n"]:
    """Distance between the same vertices under two head poses, px of the crop.

    It weighs scale, rotation and translation by what each does to the picture,
    so no unit has to be traded for another by hand.
    """
    pose, target, vertices = _float32(pose, target, vertices)
    ours = project_weak(pose, vertices)[..., :2]
    theirs = project_weak(target, vertices)[..., :2]
    return norm((ours - theirs) * (image_size / 2))


def pose_loss(
    pose: Float[Array, "*b 6"],
    target: Float[Array, "*b 6"],
    scale: Float[Array, "6"],
) -> Float[Array, "*b 6"]:
    """Squared difference of H in standard deviations (`scale`) of the training set."""
    pose, target, scale = _float32(pose, target, scale)
    return ((pose - target) / jnp.expand_dims(scale, tuple(range(pose.ndim - 1)))) ** 2


# Training of the hourglass and of the DAM.


def heatmap_loss(
    heatmaps: Float[Array, "*b h w l"], target: Float[Array, "*b h w l"]
) -> Float[Array, "*b h w l"]:
    """Squared difference of each heatmap cell."""
    heatmaps, target = _float32(heatmaps, target)
    return (heatmaps - target) ** 2


def kl_loss(
    mean: Float[Array, "*b z"], log_std: Float[Array, "*b z"]
) -> Float[Array, "*b z"]:
    """KL(N(mean, std²) || N(0, 1)) per component, nats."""
    mean, log_std = _float32(mean, log_std)
    return 0.5 * (mean**2 + jnp.exp(2 * log_std) - 1) - log_std


# Self-supervised adaptation.


def texture_consistency_loss(
    texture: Float[Array, "*b t t 3"], other: Float[Array, "*b t t 3"]
) -> Float[Array, "*b t t"]:
    """ρ of each texel's colour difference, mean over RGB.

    CFTC compares the unwrapped textures of frames t and t + 1; MOTC the
    colour-corrected decoded texture with the unwrapped one. Both use it on every
    level of a pyramid, so that the basin is wider than a texel.
    """
    texture, other = _float32(texture, other)
    return jnp.mean(charbonnier(texture - other), -1)


def landmark_loss(
    points: Float[Array, "*b l 2"],
    detected: Float[Array, "*b l 2"],
    on_contour: Bool[Array, "l"],
) -> Float[Array, "*b l"]:
    """Distance of projected mesh landmarks to detected ones, px.

    Points with `on_contour` slide: a 2D detector marks the *visible* outline of the
    jaw, which is another line on the mesh at every yaw, so only the distance to the
    detected contour, not the place along it, is known. Its tangent at a point is
    taken from the detected neighbours (landmarks 0-16 are consecutive).
    """
    points, detected = _float32(points, detected)
    offset = points - detected
    ahead = jnp.roll(detected, -1, -2)
    behind = jnp.roll(detected, 1, -2)
    # At either end of the contour the neighbour beyond it is no contour point.
    ahead = jnp.where(_column(on_contour & jnp.roll(on_contour, -1)), ahead, detected)
    behind = jnp.where(_column(on_contour & jnp.roll(on_contour, 1)), behind, detected)
    along = ahead - behind
    length = jnp.sqrt(jnp.sum(along * along, -1, keepdims=True) + 1e-12)
    normal = jnp.stack([-along[..., 1], along[..., 0]], -1) / length
    across = jnp.sum(offset * normal, -1)
    # norm() of the one-component offset keeps both branches smooth and equal at zero.
    return jnp.where(on_contour, norm(across[..., None]), norm(offset))


def _column(mask: Bool[Array, "l"]) -> Bool[Array, "l 1"]:
    return mask[:, None]


def prior_loss(
    z: Float[Array, "*b z"], mean: Float[Array, "z"], std: Float[Array, "z"]
) -> Float[Array, "*b z"]:
    """Squared z-score of the state under the lab distribution, per component."""
    z, mean, std = _float32(z, mean, std)
    lead = tuple(range(z.ndim - 1))
    return ((z - jnp.expand_dims(mean, lead)) / jnp.expand_dims(std, lead)) ** 2


# Reductions that objectives use.


def weighted_mean(
    x: Float[Array, "*b"], weight: Float[Array, "*b"]
) -> Float[Array, ""]:
    """Mean over everything, 0 where there is no weight at all."""
    return jnp.sum(x * weight) / jnp.maximum(jnp.sum(weight), 1e-6)


def weighted(
    terms: Mapping[str, Array | float], weights: Mapping[str, Array | float]
) -> Float[Array, ""]:
    """The loss: every term times the weight of its name, summed up.

    Weights without a term are not read.
    """
    return jnp.asarray(sum(weights[name] * term for name, term in terms.items()))
