# SPDX-License-Identifier: Apache-2.0
"""Stage `dam`: the variational autoencoder of mesh and view-dependent texture.

Multiface's objective (Wuu et al. 2022; Lombardi et al. 2018 section 3.2): vertices,
masked texture, KL, per-camera colour inside the model. Both errors are measured in
the variance of the training set, as published.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import jax.numpy as jnp

from i2z_jax.geometry.sampling import unit_range
from i2z_jax.losses import (
    kl_loss,
    texture_loss,
    vertex_loss,
    weighted,
    weighted_mean,
)
from i2z_jax.models.dam import DAM
from i2z_jax.types import Array, Float, Metrics


@dataclass(frozen=True)
class DAMWeights:
    """Weights of the terms; the published ones are 1, 1 and 0.01."""

    # Per variance of the vertices of squared distance.
    vertices: float = 1.0
    # Per variance of the texels of squared colour difference.
    texture: float = 1.0
    # Per nat of divergence from a unit Gaussian, mean over z's components.
    kl: float = 0.01
    # [ours] How much a texel that this camera did not see counts, its target being the
    # frame's average over the cameras, beside one that it saw. 0, as published, leaves
    # it free: seen from between two cameras, what neither of both saw is then dark.
    unseen: float = 0.1


def dam_objective(
    dam: DAM,
    batch: Mapping[str, Array],
    key: Array | None,
    *,
    weights: DAMWeights,
    texel_weight: Float[Array, "t t"],
) -> tuple[Float[Array, ""], Metrics]:
    """Negative evidence lower bound, with published weights.

    Args:
        dam: the model in training.
        batch: `vertices` mm `b n 3`, `average_texture` uint8 `b t t 3`, `texture`
            uint8 `b t t 3` of the view (exactly 0 where this camera saw nothing),
            `view` `b 3`, `camera` `b`.
        key: for the sample of z; None takes its mean.
        weights: of the terms.
        texel_weight: of each texel; 0 where the topology has no surface.

    Returns:
        The loss, and its terms; `vertex_mm` is the mean vertex distance, and
        `texture_psnr` in dB over the texels that were seen.
    """
    truth, average = (
        unit_range(batch[name]) for name in ("texture", "average_texture")
    )
    seen, known = (jnp.any(texture > 0, -1) for texture in (truth, average))
    out = dam(
        batch["vertices"],
        average,
        batch["view"],
        batch["camera"],
        key=key,
    )
    statistics = dam.statistics
    squared_mm = jnp.mean((out.vertices - batch["vertices"]) ** 2)
    # Per colour channel, over what this camera saw, and over what only others did.
    squared_colour, beside = (
        weighted_mean(texture_loss(out.texture - target), where * texel_weight[None])
        for target, where in ((truth, seen), (average, known & ~seen))
    )
    terms = {
        "vertices": squared_mm / statistics.vert_var[...],
        "texture": squared_colour / statistics.tex_var[...],
        "unseen": beside / statistics.tex_var[...],
        "kl": kl_loss(out.posterior.mean, out.posterior.log_std).mean(),
    }
    # `unseen` is a share of the weight of a texel that was seen.
    of_unseen = weights.texture * weights.unseen
    loss = weighted(terms, {**asdict(weights), "unseen": of_unseen})
    return loss, {
        **terms,
        "vertex_mm": vertex_loss(out.vertices, batch["vertices"]).mean(),
        "texture_psnr": -10 * jnp.log10(jnp.maximum(squared_colour, 1e-10)),
    }
