# SPDX-License-Identifier: Apache-2.0
"""Where a detector's landmarks lie on this mesh: measured on lab views [ours].

A detector marks "the corner of the mouth" where its annotators did; the topology's
landmark is some other point near it. In the term FL that difference would pull every
frame the same way, and bend the face. On the capture's views mesh and pose are known,
so it can be seen: for each landmark one displacement in head space, and how far the
detections scatter about it, which says how far that landmark is to be trusted.
"""

from typing import NamedTuple

import numpy as np

from i2z_jax.geometry.camera import view_from_head
from i2z_jax.types import Float, NDArray

# Without evidence a landmark is within a few mm of its place on the mesh.
PRIOR_MM = 5.0
# No detector is better than this, px of a 256 px crop.
LEAST_SCATTER = 1.0
ROUNDS = 10


class LandmarkBias(NamedTuple):
    """A detector's habits on one mesh."""

    # From the topology's landmark to what the detector marks, mm in head space.
    offset: Float[NDArray, "l 3"]
    # What remains, px of a 256 px crop: median distance.
    scatter: Float[NDArray, "l"]

    @property
    def trust(self) -> Float[NDArray, "l"]:
        """Weights of the landmarks: inverse scatter, mean 1."""
        weight = 1 / np.maximum(self.scatter, LEAST_SCATTER)
        return weight / weight.mean()

    @classmethod
    def none(cls, count: int) -> "LandmarkBias":
        """The bias of a detector nothing is known about."""
        return cls(np.zeros((count, 3)), np.full(count, LEAST_SCATTER))


def measure_bias(
    detected: Float[NDArray, "v l 2"],
    confidence: Float[NDArray, "v l"],
    projected: Float[NDArray, "v l 2"],
    pose: Float[NDArray, "v 6"],
    image_size: int,
) -> LandmarkBias:
    """Fit the displacements of all landmarks to labelled views.

    Least absolute deviation by reweighted least squares, so that a landmark that is
    hidden in some of the views, or mistaken, is placed by the others.

    Args:
        detected, confidence: by the detector, px of the crop.
        projected: the mesh's landmarks under the true pose, px.
        pose: the true H.
        image_size: side of the crop, px.
    """
    pose = pose.astype(np.float64)
    # mm in head space to px of the crop, for every view.
    forward = view_from_head(pose)[:, :2] * (pose[:, 0, None, None] * image_size / 2)
    difference = (detected - projected).astype(np.float64)
    pixel = image_size / 256
    prior = np.eye(3) * (LEAST_SCATTER * pixel / PRIOR_MM) ** 2
    offset = np.zeros((difference.shape[1], 3))
    for _ in range(ROUNDS):
        distance = np.linalg.norm(difference - _moved(forward, offset), axis=-1)
        weight = confidence / np.maximum(distance / pixel, LEAST_SCATTER)
        gram = np.einsum("vl,vpi,vpj->lij", weight, forward, forward)
        moment = np.einsum("vl,vpi,vlp->li", weight, forward, difference)
        offset = np.linalg.solve(gram + prior[None], moment[..., None])[..., 0]
    distance = np.linalg.norm(difference - _moved(forward, offset), axis=-1)
    return LandmarkBias(offset, np.median(distance, 0) / pixel)


def _moved(forward: NDArray, offset: NDArray) -> NDArray:
    return np.einsum("vpi,li->vlp", forward, offset)
