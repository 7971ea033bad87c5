# SPDX-License-Identifier: Apache-2.0
"""How much of the head a crop shows, whatever its box came from.

The network is trained on crops of a capture and used on crops around what a detector
found; both have to show the same part of the head at the same size. Reference is the
box of the 68 landmarks, brows to chin: the crop is 1.8 of its longer side wide, eyes at
0.4 and chin at 0.92 of its height. A capture whose topology has no landmark map is cut
by the box that holds the middle nine tenths of the vertices, brought to the same with
the proportions of Multiface's mesh; a frontal detection is brought to it with the
proportions of OpenCV's boxes ("detector"; 300-W's tables of a detector's boxes are as
tight as landmarks, and framed like those).
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
    "mesh": (1.2, 0.14),
    "detector": (1.55, 0.0),
    "landmarks": (1.8, 0.24),
}


def mesh_box(points: Float[NDArray, "n 2"]) -> Float[NDArray, "4"]:
    """Left, top, right, bottom around the middle of projected vertices."""
    return np.quantile(points, [TRIM, 1 - TRIM], axis=0).reshape(4)


def crop_for_box(
    box: Float[NDArray, "4"], source: BoxSource, size: int
) -> Float[NDArray, "2 3"]:
    """`crop_from_image` of the crop of `size` pixels that belongs to a face box."""
    scale, rise = _SCALE_AND_RISE[source]
    longer = max(box[2] - box[0], box[3] - box[1])
    lifted = box - np.array([0.0, 1.0, 0.0, 1.0]) * rise * longer
    return np.asarray(crop_from_box(lifted, size, scale=scale))
