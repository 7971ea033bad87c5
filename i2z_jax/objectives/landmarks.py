# SPDX-License-Identifier: Apache-2.0
"""Stage `landmarks`: heatmap regression with supervision on every stack.

Newell et al. 2016 section 3.2, and the distance of the points that are read from the
maps, as in integral regression (Sun et al. 2018). The same images pretrain a VGG stream
where no converted one exists [ours]: a stand-in for ImageNet weights, and named so.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp

from i2z_jax.data.landmarks68 import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from i2z_jax.data.targets import heatmap_targets
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.losses import heatmap_loss, norm
from i2z_jax.models.heatmaps import RADIUS, soft_argmax
from i2z_jax.types import Array, Float, Metrics

# How much more a landmark's own cell counts than an empty one.
EMPHASIS = 10.0
# Loss of a landmark that is read one cell off. (An empty map costs 24.)
COORDINATES = 8.0


def landmarks_objective(
    network: Callable[[Array], list[Array]],
    batch: Mapping[str, Array],
    *,
    sigma: float = 1.0,
) -> tuple[Float[Array, ""], Metrics]:
    """Squared heatmap error, summed over cells, and distance of the points read off.

    Mean over landmarks, stacks and batch. Cells count 1 + `EMPHASIS` target [ours]:
    nearly all of a map is empty, and plain squares leave it so for hundreds of steps
    before the first bell rises. Squares also say little of where in its cell a bell
    stands, which is what landmarks are read for: hence the distance. It counts as far
    as `soft_argmax` sees: a peak farther away cannot be moved, it has to be painted.

    Args:
        network: an `Hourglass` in its training view, or a `HeatmapPainter`: images in
            [0, 1] to one or more sets of heatmaps, best last.
        batch: `image` uint8 `b h w 3`, `landmarks` px `b 68 2`.
        sigma: width of the target bells, in heatmap cells.

    Returns:
        The loss, and `nme`: mean landmark distance over the outer eye corners'
        distance (inter-ocular), of the last set of heatmaps.
    """
    image, landmarks = batch["image"], batch["landmarks"]
    size = image.shape[-2]
    outputs = network(unit_range(image))
    terms = []
    for heatmaps in outputs:
        target = heatmap_targets(
            landmarks, crop_size=size, map_size=heatmaps.shape[-2], sigma=sigma
        )
        weight = 1 + EMPHASIS * target.maps
        painted = (weight * heatmap_loss(heatmaps, target.maps)).sum((-3, -2))
        points = soft_argmax(heatmaps, size).points
        cells = norm(points - landmarks) * (heatmaps.shape[-2] / size)
        beside = jnp.minimum(cells, RADIUS) * target.inside
        terms.append((painted + COORDINATES * beside).mean())
    loss = jnp.stack(terms).mean()
    return loss, {"nme": normalised_mean_error(points, landmarks).mean()}


def normalised_mean_error(
    points: Float[Array, "*b 68 2"], truth: Float[Array, "*b 68 2"]
) -> Float[Array, "*b"]:
    """Mean distance over 68 landmarks, over the inter-ocular distance (300-W)."""
    ocular = norm(truth[..., RIGHT_EYE_OUTER, :] - truth[..., LEFT_EYE_OUTER, :])
    return norm(points - truth).mean(-1) / jnp.maximum(ocular, 1e-3)
