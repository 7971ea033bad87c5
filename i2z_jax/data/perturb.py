# SPDX-License-Identifier: Apache-2.0
"""The five scenarios of the relative evaluation (DESIGN section 10).

A prediction after a perturbation is compared with the one before it, so no ground
truth is needed. *View* is a choice of camera: each camera's geometry is compared with
the most central one's. *Color*, *Light*, *Jitter* and *Background* are changes of the
crop, drawn for example `index` from a seed of its own: the same picture gets the same
change in every variant, run and batch size.

The supplement names the scenarios and prints no strengths; `STRENGTHS` is ours, and a
published table of numbers compares rows within itself only.
"""

from typing import Literal, NamedTuple

import cv2
import numpy as np

from i2z_jax.data import photometric
from i2z_jax.data.warp import sample_crop, similarity_about_centre
from i2z_jax.geometry.crop import unit_affine
from i2z_jax.types import Bool, Float, NDArray, UInt8

Scenario = Literal["view", "color", "light", "jitter", "background"]
PERTURBATIONS: tuple[Scenario, ...] = ("color", "light", "jitter", "background")


class Strengths(NamedTuple):
    """How far each change goes; draws are uniform within these."""

    # Color: gain of each channel 1 +- this.
    color_gain: float = 0.4
    # Light: gamma between exp(-this) and exp(this).
    light_log_gamma: float = 0.7
    # Jitter: zoom between exp(-this) and exp(this).
    jitter_log_scale: float = 0.1
    # Jitter: rotation in degrees.
    jitter_angle_deg: float = 10.0
    # Jitter: shift in units of the crop's side.
    jitter_shift: float = 0.05
    # Background: white dots in a crop, and their largest radius in units of its side.
    background_dots: float = 200.0
    background_radius: float = 0.015


STRENGTHS = Strengths()
# Dots stay this far off the hull of the face, in units of the crop's side.
MARGIN = 0.02


class Perturbed(NamedTuple):
    """A changed crop, and how its pixels moved."""

    image: UInt8[NDArray, "h h 3"]
    # [-1, 1] of the changed crop from that of the given one; only jitter moves it.
    unit_similarity: Float[NDArray, "2 3"]


def perturb(
    scenario: Scenario,
    image: UInt8[NDArray, "h h 3"],
    index: int,
    *,
    face: Bool[NDArray, "h h"] | None = None,
) -> Perturbed:
    """The crop of example `index` under a scenario.

    Args:
        scenario: one of `PERTURBATIONS`.
        index: number of the example in its dataset.
        face: for "background", the pixels to leave alone (`face_mask`).
    """
    rng = np.random.default_rng([0, PERTURBATIONS.index(scenario), index])
    size = image.shape[0]
    s, motion = STRENGTHS, similarity_about_centre(size)
    if scenario == "color":
        gain = 1.0 + rng.uniform(-1.0, 1.0, size=3) * s.color_gain
        image = photometric.tone(image, gain=gain)
    elif scenario == "light":
        gamma = float(np.exp(rng.uniform(-1.0, 1.0) * s.light_log_gamma))
        image = photometric.tone(image, gamma=gamma)
    elif scenario == "jitter":
        zoom, turn, *shift = rng.uniform(-1.0, 1.0, size=4)
        motion = similarity_about_centre(
            size,
            scale=np.exp(zoom * s.jitter_log_scale),
            angle=np.deg2rad(turn * s.jitter_angle_deg),
            shift=np.array(shift) * s.jitter_shift * size,
        )
        image = sample_crop(image, motion, size, cv2.BORDER_REPLICATE)
    elif face is None:
        raise ValueError("the background scenario needs to know the face")
    else:
        count, radius = round(s.background_dots), s.background_radius * size
        image = _dots(image, rng, count, radius, face)
    return Perturbed(image, np.asarray(unit_affine(motion, size, size)))


def face_mask(points: Float[NDArray, "n 2"], size: int) -> Bool[NDArray, "size size"]:
    """Pixels of a crop inside the convex hull of projected mesh points, or near it.

    Args:
        points: crop pixels; vertices of the whole mesh, or landmarks (which leave
            the forehead out).
    """
    hull = cv2.convexHull((points - 0.5).astype(np.float32))
    mask = np.zeros((size, size), dtype=np.uint8)
    cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 1)
    grow = round(MARGIN * size)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1))
    return cv2.dilate(mask, kernel).astype(bool)


def central_camera(directions: Float[NDArray, "n 3"]) -> int:
    """The camera that the View scenario compares with: the others lie around it.

    Args:
        directions: unit vectors from the head to each camera.

    Returns:
        the one whose angles to all others have the smallest sum.
    """
    angles = np.arccos(np.clip(directions @ directions.T, -1.0, 1.0))
    return int(angles.sum(axis=1).argmin())


def _dots(
    image: np.ndarray,
    rng: np.random.Generator,
    count: int,
    radius: float,
    face: np.ndarray,
) -> np.ndarray:
    """White discs; those reaching into the face are drawn there and taken back."""
    size = image.shape[0]
    dotted = image.copy()
    for x, y, r in rng.random((count, 3)):
        centre = int(x * size), int(y * size)
        reach = round((0.3 + 0.7 * r) * radius)
        cv2.circle(dotted, centre, reach, (255, 255, 255), -1, cv2.LINE_AA)
    return np.where(face[..., None], image, dotted)
