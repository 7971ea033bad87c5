# SPDX-License-Identifier: Apache-2.0
"""How much of the head a crop shows, whatever its box came from.

The network is trained on crops around the tracked mesh and used on crops around what
a detector found; both have to show the same part of the head at the same size. The
reference is the box that holds the middle nine tenths of the projected vertices: the
face without neck and hair, about 155 x 195 mm on Multiface's mesh. The other sources
are brought to it with their typical sizes (a frontal detection is about 150 mm, the 68
landmarks span about 130 mm from brows to chin, below the middle of the face).
"""

from typing import Literal

import numpy as np

from i2z_jax.geometry.crop import crop_from_box
from i2z_jax.types import Float, NDArray

BoxSource = Literal["mesh", "detector", "landmarks"]

# Share of the vertices that is cut off on either side.
TRIM = 0.05
# Side of the crop, and how far its centre lies above the box's, in longer box sides.
_SCALE_AND_RISE: dict[BoxSource, tuple[float, float]] = {
    "mesh": (1.2, 0.0),
    "detector": (1.55, 0.0),
    "landmarks": (1.8, 0.15),
}


def mesh_box(points: Float[NDArray, "n 2"]) -> Float[NDArray, "4"]:
    """Left, top, right, bottom around the middle of projected vertices."""
    return np.quantile(points, [TRIM, 1 - TRIM], axis=0).reshape(4)


def frame(
    box: Float[NDArray, "4"], source: BoxSource, size: int
) -> Float[NDArray, "2 3"]:
    """`crop_from_image` of the crop of `size` pixels that belongs to a face box."""
    scale, rise = _SCALE_AND_RISE[source]
    longer = max(box[2] - box[0], box[3] - box[1])
    lifted = box - np.array([0.0, 1.0, 0.0, 1.0]) * rise * longer
    return np.asarray(crop_from_box(lifted, size, scale=scale))
