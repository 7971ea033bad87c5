# SPDX-License-Identifier: Apache-2.0
"""Stage `regress`: I2ZNet on labelled lab images, through the frozen decoder.

Paper section 4 and supplement; DESIGN section 6. The texture term compares decoded
with decoded [ours]: the target is the decoder's own texture of the true state from
the true view. It is what a perfect prediction gives, it is free of the decoder's
error, which the regressor cannot mend, and no 1024² texture is read from disk.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from i2z_jax.geometry.camera import view_direction
from i2z_jax.losses import (
    latent_loss,
    pose_loss,
    reprojection_loss,
    texture_loss,
    vertex_loss,
    weighted,
)
from i2z_jax.models.dam import DAM
from i2z_jax.models.i2znet import I2ZOutput
from i2z_jax.types import Array, Float, Metrics


@dataclass(frozen=True)
class RegressWeights:
    """Weights of the terms; each name says what a term of 1 means."""

    # Per unit of squared error in a component of z. Low: a component that moves the
    # face by 0.1 mm counts here like one that moves it by 10 mm.
    z: float = 0.2
    # Per mm of mean vertex distance.
    vertices: float = 1.0
    # Per unit of squared colour difference, RGB in [0, 1].
    texture: float = 10.0
    # Per pixel of mean reprojection distance.
    reprojection: float = 0.1
    # Per squared standard deviation of H.
    pose: float = 0.1


def regress_objective(
    prediction: I2ZOutput,
    dam: DAM,
    batch: Mapping[str, Array],
    *,
    weights: RegressWeights,
    pose_std: Float[Array, "6"],
    texel_weight: Float[Array, "t t"] | None = None,
    image_size: int,
) -> tuple[Float[Array, ""], Metrics]:
    """Distance of the prediction to its labels, as state, as mesh, as picture.

    Args:
        prediction: of I2ZNet, for the batch's images.
        dam: the frozen decoder.
        batch: `z` `b z` (the posterior mean of mesh and average texture), `pose`
            `b 6` (H of the crop), `vertices` mm `b n 3`.
        weights: of the terms.
        pose_std: of H over the training set.
        texel_weight: of each texel, in the texture term; 0 where the topology has no
            surface. None: all count the same.
        image_size: side of the crop, px.

    Returns:
        The loss, and its terms: `vertices` in mm, `reprojection` in px.
    """
    z, pose = batch["z"], batch["pose"]
    terms = {
        "z": latent_loss(prediction.z, z).mean(),
        "vertices": vertex_loss(
            dam.decode_vertices(prediction.z), batch["vertices"]
        ).mean(),
        "reprojection": reprojection_loss(
            prediction.pose, pose, batch["vertices"], image_size=image_size
        ).mean(),
        "pose": pose_loss(prediction.pose, pose, pose_std).mean(),
    }
    if weights.texture:  # a static choice: without it nothing is decoded
        difference = dam.texture_difference(
            prediction.z, view_direction(prediction.pose), z, view_direction(pose)
        )
        each = texture_loss(difference)
        if texel_weight is not None:
            each = each * texel_weight[None] / texel_weight.mean()
        terms["texture"] = each.mean()
    return weighted(terms, asdict(weights)), terms
