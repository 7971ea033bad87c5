# SPDX-License-Identifier: Apache-2.0
"""The 68 landmarks of 300-W on the chart of the skin, and the triangles they lie in.

They are places on the skin, so they are right for every identity and expression. In
a picture point 0 is at the left, which is the subject's right (x < 0).
"""

import numpy as np

from i2z_jax.synth import chart
from i2z_jax.types import Float, Int, NDArray


def _landmark_angles() -> Float[NDArray, "68 2"]:
    flip = np.array([-1, 1])
    jaw, brow, nose = (
        chart.angles_of(np.array(p, float)) for p in (chart.JAW, chart.BROW, chart.NOSE)
    )
    jaw_line = np.concatenate([jaw[::-1] * flip, jaw[1:]])
    brows = np.concatenate([brow[::-1] * flip, brow])
    wings = np.concatenate([nose[[6, 5]] * flip, nose[4:7]])
    # Eyes run from the outer corner of the right one over the top; the left one
    # begins at its inner corner.
    lids = np.radians([0, 62, 118, 180, 242, 298])
    right = chart.eye_ring(lids, 0.0) * flip
    left = chart.eye_ring(np.radians([180, 118, 62, 0, 298, 242]), 0.0)
    mouth = np.concatenate([_outer_lip(), _inner_lip()])
    return np.concatenate([jaw_line, brows, nose[:4], wings, right, left, mouth])


def vermilion(x: Float[NDArray, " k"], upper: bool) -> Float[NDArray, "k 3"]:
    """Border between lip and skin, in head space."""
    s = np.clip(1 - np.abs(x / 25.5) ** 2.2, 0, 1)
    if upper:
        bow = 0.9 * np.exp(-(((np.abs(x) - 5.5) / 4) ** 2)) - 1.0 * np.exp(
            -((x / 3) ** 2)
        )
        y = -73.4 + (8.0 * s + bow * s)
    else:
        y = -73.4 - 9.6 * s**0.8
    return np.stack([x, y, 99.0 - 0.0175 * x * x - 1.5 * (not upper)], axis=-1)


def _outer_lip():
    upper = chart.angles_of(vermilion(np.array([-16.0, -5.5, 0, 5.5, 16.0]), True))
    lower = chart.angles_of(vermilion(np.array([15.0, 6.5, 0, -6.5, -15.0]), False))
    corner = chart.mouth_ring(np.array([np.pi / 2]), 0.0)
    return np.concatenate([corner * [-1, 1], upper, corner, lower])


def _inner_lip():
    turn = np.arcsin(np.array([23.5, 11.0, 0.0]) / 25.5)
    over = chart.mouth_ring(turn, 0.0)
    under = chart.mouth_ring(np.pi - turn, 0.0)
    flip = np.array([-1, 1])
    corners = (over[:1] + under[:1]) / 2
    top = np.concatenate([over[1:2] * flip, over[2:], over[1:2]])
    bottom = np.concatenate([under[1:2], under[2:], under[1:2] * flip])
    return np.concatenate([corners * flip, top, corners, bottom])


def locate(
    faces: Int[NDArray, "tri 3"],
    uvs: Float[NDArray, "m 2"],
    uv_faces: Int[NDArray, "tri 3"],
) -> tuple[Int[NDArray, "68"], Float[NDArray, "68 3"]]:
    """Triangles and weights of the landmarks, among triangles of the skin.

    Where a landmark lies in an opening (a coarse mesh cuts corners), the nearest
    point of the nearest triangle stands for it.
    """
    corners = uvs[uv_faces]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    e1, e2 = b - a, c - a
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    found, weights = [], []
    for point in chart.uv_of(_landmark_angles()):
        q = point - a
        s = (q[:, 0] * e2[:, 1] - q[:, 1] * e2[:, 0]) / area
        t = (e1[:, 0] * q[:, 1] - e1[:, 1] * q[:, 0]) / area
        w = np.clip(np.stack([1 - s - t, s, t], axis=-1), 0, None)
        w /= w.sum(axis=-1, keepdims=True)
        miss = np.linalg.norm((w[..., None] * corners).sum(axis=1) - point, axis=-1)
        best = miss.argmin()
        found.append(best)
        weights.append(w[best])
    return np.array(found), np.array(weights)
