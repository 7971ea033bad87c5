# SPDX-License-Identifier: Apache-2.0
"""What is measured, as pure functions (DESIGN section 10); NumPy or JAX.

Every function gives one value an example and reduces nothing over examples, apart
from the last four, which are about a whole set. Lengths on the face are mm, lengths
in a picture px of a 256 px crop whatever its size is, colours are in [0, 1],
but for what is named after Multiface.
"""

import math
from typing import Literal, get_args

import numpy as np

from i2z_jax.data.landmarks68 import LEFT_EYE_OUTER, PARTS, RIGHT_EYE_OUTER
from i2z_jax.geometry.camera import project_weak, view_from_head
from i2z_jax.geometry.crop import box_of_points
from i2z_jax.types import ArrayLike, Float, NDArray

# The crop that pixel errors are quoted for.
CROP = 256

# What a landmark error is divided by: the distance of the outer eye corners (300-W),
# of the middles of the eyes, or sqrt(width height) of the landmarks' box.
Normaliser = Literal["inter-ocular", "inter-pupil", "box"]
NORMALISERS: tuple[Normaliser, ...] = get_args(Normaliser)


def distance(
    x: Float[ArrayLike, "*b d"], y: Float[ArrayLike, "*b d"]
) -> Float[ArrayLike, "*b"]:
    """Euclidean distance over the last axis; exactly 0 for equal points."""
    xp = x.__array_namespace__()
    return xp.linalg.vector_norm(x - y, axis=-1)


def pose_distance(
    pose: Float[ArrayLike, "*b 6"],
    truth: Float[ArrayLike, "*b 6"],
    vertices: Float[ArrayLike, "*b n 3"],
) -> Float[ArrayLike, "*b"]:
    """Mean distance in the picture of the same vertices under two head poses, px."""
    ours = project_weak(pose, vertices)[..., :2]
    theirs = project_weak(truth, vertices)[..., :2]
    return distance(ours, theirs).mean(-1) * (CROP / 2)


def rotation_angle(
    pose: Float[ArrayLike, "*b 6"], truth: Float[ArrayLike, "*b 6"]
) -> Float[ArrayLike, "*b"]:
    """Angle of the rotation between two head poses, degrees (geodesic on SO(3)).

    2 asin(|R - R'|_F / sqrt 8), which is exact at 0, where acos of a trace is not.
    """
    xp = pose.__array_namespace__()
    difference = view_from_head(pose) - view_from_head(truth)
    chord = xp.sqrt((difference**2).sum(axis=(-2, -1)) / 8)
    return 2 * xp.asin(xp.clip(chord, 0.0, 1.0)) * (180 / math.pi)


def colour_difference(
    texture: Float[ArrayLike, "*b t t 3"],
    truth: Float[ArrayLike, "*b t t 3"],
    weight: Float[ArrayLike, "*b t t"],
) -> Float[ArrayLike, "*b"]:
    """Mean absolute difference over weighted texels and RGB; NaN without any."""
    return _texel_mean(abs(texture - truth).mean(-1), weight)


def squared_colour_difference(
    texture: Float[ArrayLike, "*b t t 3"],
    truth: Float[ArrayLike, "*b t t 3"],
    weight: Float[ArrayLike, "*b t t"],
) -> Float[ArrayLike, "*b"]:
    """Mean squared difference over weighted texels and RGB; NaN without any."""
    return _texel_mean(((texture - truth) ** 2).mean(-1), weight)


def multiface_vertex_mse(
    vertices: Float[ArrayLike, "*b n 3"],
    truth: Float[ArrayLike, "*b n 3"],
    variance: Float[ArrayLike, ""],
) -> Float[ArrayLike, "*b"]:
    """The vertex loss that Multiface's `test.py` prints: mean over vertices and x, y, z
    of the squared difference, over the capture's `vert_var` (mm²)."""
    return ((vertices - truth) ** 2).mean((-2, -1)) / variance


def multiface_texture_mse(
    texture: Float[ArrayLike, "*b t t 3"], truth: Float[ArrayLike, "*b t t 3"]
) -> Float[ArrayLike, "*b"]:
    """The de-normalised texture loss that Multiface's `test.py` prints: the squared
    difference in grey levels of 255. What is 0 in the truth has no error, but counts in
    the mean, which is over all texels and RGB. The prediction is not clipped."""
    return (((texture - truth) * 255 * (truth > 0)) ** 2).mean((-3, -2, -1))


def _texel_mean(x, weight):
    xp = x.__array_namespace__()
    total = weight.sum(axis=(-2, -1))
    mean = (x * weight).sum(axis=(-2, -1)) / xp.maximum(total, 1e-6)
    return xp.where(total > 0, mean, xp.nan)


def landmark_scale(
    truth: Float[ArrayLike, "*b 68 2"], normaliser: Normaliser
) -> Float[ArrayLike, "*b"]:
    """The length that a face's landmark errors are divided by, px."""
    xp = truth.__array_namespace__()
    if normaliser == "inter-ocular":
        return distance(truth[..., LEFT_EYE_OUTER, :], truth[..., RIGHT_EYE_OUTER, :])
    if normaliser == "inter-pupil":
        left, right = (
            truth[..., PARTS[eye], :].mean(-2) for eye in ("left eye", "right eye")
        )
        return distance(left, right)
    box = box_of_points(truth)
    return xp.sqrt((box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]))


def landmark_error(
    points: Float[ArrayLike, "*b 68 2"],
    truth: Float[ArrayLike, "*b 68 2"],
    normaliser: Normaliser = "inter-ocular",
) -> Float[ArrayLike, "*b"]:
    """Normalised mean error (NME) of a face: a share of 1, not percent."""
    return distance(points, truth).mean(-1) / landmark_scale(truth, normaliser)


def second_difference(
    before: Float[ArrayLike, "*b d"],
    now: Float[ArrayLike, "*b d"],
    after: Float[ArrayLike, "*b d"],
) -> Float[ArrayLike, "*b"]:
    """|x(t-1) - 2 x(t) + x(t+1)|: what shakes, not what moves evenly."""
    return distance(before + after, 2 * now)


def psnr(mean_squared: float) -> float:
    """Peak signal-to-noise ratio of a mean squared colour difference, dB."""
    return math.inf if mean_squared == 0 else -10 * math.log10(mean_squared)


def failure_rate(errors: Float[NDArray, "e"], threshold: float) -> float:
    """Share of the faces whose error is above the threshold, or no number."""
    return float(1 - np.mean(errors <= threshold))


def area_under_curve(errors: Float[NDArray, "e"], threshold: float) -> float:
    """Area under the cumulative error distribution up to a threshold, over it (AUC).

    Exact: a face with error e < t contributes the stretch from e to t. 1 is perfect,
    0 no face below the threshold. An error that is no number contributes nothing.
    """
    return float(np.mean(np.fmax(threshold - errors, 0.0)) / threshold)


def gap_closed(before: float, after: float, oracle: float) -> float | None:
    """Share of the gap to the oracle that adaptation closed; None without a gap."""
    gap = before - oracle
    return (before - after) / gap if gap > 0 else None
