# SPDX-License-Identifier: Apache-2.0
"""Training augmentation: example in, example out, every draw from the given `rng`.

An example is moved by one map from the stored image to the training crop, sampled
once: neither is a picture blurred twice, nor does a label follow another map than the
pixels do. Strengths are half-widths of uniform distributions unless said otherwise,
and a strength of zero switches a change off.

Landmarks (DESIGN 9, `train landmarks`): rotation, scale, shift, mirror, occluders.
Regression (`train regress`): the crop moves by a similarity and the head pose H moves
**with** it, so that (crop, H) stays as true as it was; a mirrored person is somebody
else, so there is no mirror. Both: colour, gamma, blur, noise, JPEG.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from i2z_jax.data import photometric
from i2z_jax.data.framing import crop_for_box
from i2z_jax.data.landmarks68 import MIRROR
from i2z_jax.data.warp import mirror_map, sample_crop, similarity_about_centre
from i2z_jax.geometry.crop import (
    apply_affine,
    box_of_points,
    compose,
    transform_pose,
    unit_affine,
)
from i2z_jax.types import Example, NDArray, UInt8


@dataclass(frozen=True)
class Photometric:
    """Changes of colour and sharpness."""

    # Gain of each channel: 1 +- this.
    gain: float = 0.2
    # Offset of each channel, image range [0, 1].
    bias: float = 0.05
    # Gamma between exp(-this) and exp(this).
    log_gamma: float = 0.3
    # Saturation: 1 +- this.
    saturation: float = 0.3
    # Blur: how often, and the largest sigma in pixels.
    blur_probability: float = 0.2
    blur_sigma: float = 1.5
    # Noise: how often, and the largest sigma in grey levels of 255.
    noise_probability: float = 0.2
    noise_sigma: float = 8.0
    # JPEG: how often, and the lowest quality (1 to 100).
    jpeg_probability: float = 0.1
    jpeg_quality: int = 40


@dataclass(frozen=True)
class Motion:
    """A random similarity of the crop about its centre."""

    # Rotation in degrees.
    angle_deg: float
    # Zoom between exp(-this) and exp(this).
    log_scale: float
    # Shift in units of the crop's side, each axis.
    shift: float


@dataclass(frozen=True)
class LandmarkAugment:
    """Strengths for landmark training."""

    motion: Motion = Motion(angle_deg=30.0, log_scale=0.2, shift=0.05)
    photometric: Photometric = field(default_factory=Photometric)
    mirror_probability: float = 0.5
    # Patches over the face: how often, and the largest side in units of the crop's.
    occluder_probability: float = 0.3
    occluder_size: float = 0.4


@dataclass(frozen=True)
class RegressionAugment:
    """Strengths for regression training."""

    motion: Motion = Motion(angle_deg=15.0, log_scale=0.12, shift=0.06)
    photometric: Photometric = field(default_factory=Photometric)


def augment_landmarks(
    example: Example,
    rng: np.random.Generator,
    *,
    size: int,
    strength: LandmarkAugment | None = LandmarkAugment(),
) -> Example:
    """The training crop of a 300-W example, landmarks moved with it.

    Unaugmented, the crop shows what the tracker's does (`framing.py`), whichever box
    the picture came with: a hourglass is right only about heads of the size it knows.

    Args:
        example: `image` (h w 3 uint8) and `landmarks` (68, 2) in pixels of it; other
            fields pass through, but for `box`, which has no use any more.
        rng: where all draws come from.
        size: side of the crop in pixels.
        strength: None crops and changes nothing else, as evaluation does.

    Returns:
        `image` (size size 3) uint8 and `landmarks` (68, 2) float32 in crop pixels;
        some may lie outside.
    """
    points = np.asarray(example["landmarks"], np.float64)
    affine = crop_for_box(np.asarray(box_of_points(points)), "landmarks", size)
    mirrored = False
    if strength is not None:
        affine = compose(draw_motion(rng, strength.motion, size), affine)
        mirrored = rng.random() < strength.mirror_probability
    if mirrored:
        affine = compose(mirror_map(size), affine)
    points = apply_affine(affine, points)
    image = sample_crop(example["image"], affine, size, cv2.BORDER_CONSTANT)
    if strength is not None:
        if rng.random() < strength.occluder_probability:
            image = occlude(image, rng, strength.occluder_size)
        image = change_colours(image, rng, strength.photometric)
    rest = {key: value for key, value in example.items() if key != "box"}
    points = points[MIRROR] if mirrored else points
    return {**rest, "image": image, "landmarks": points.astype(np.float32)}


def augment_regression(
    example: Example,
    rng: np.random.Generator,
    *,
    size: int,
    strength: RegressionAugment = RegressionAugment(),
) -> Example:
    """A view of a capture with its crop moved and H moved with it.

    Args:
        example: `image` (h h 3 uint8, square) and `pose` (6,) of it; other fields
            pass through: mesh, textures and view direction are head space and do not
            move (a roll of the picture leaves the direction to the camera alone).
        rng: where all draws come from.
        size: side of the training crop in pixels; the stored one may differ.
        strength: of the changes.
    """
    moved = _moved(example, size, draw_motion(rng, strength.motion, size))
    return {**moved, "image": change_colours(moved["image"], rng, strength.photometric)}


def resized_view(
    example: Example, rng: np.random.Generator | None = None, *, size: int
) -> Example:
    """As `augment_regression`, but resized only, as evaluation does: nothing is drawn
    from `rng`."""
    return _moved(example, size)


def _moved(example: Example, size: int, motion: NDArray | None = None) -> Example:
    """A view at another size; then its crop and H move by an affine map of pixels."""
    stored = example["image"].shape[0]
    affine = np.array([[size / stored, 0.0, 0.0], [0.0, size / stored, 0.0]])
    if motion is not None:
        affine = compose(motion, affine)
    unit = unit_affine(affine, stored, size)
    pose = transform_pose(np.asarray(example["pose"], np.float64), unit)
    image = sample_crop(example["image"], affine, size, cv2.BORDER_REPLICATE)
    return {**example, "image": image, "pose": pose.astype(np.float32)}


def draw_motion(rng: np.random.Generator, motion: Motion, size: int) -> NDArray:
    """A random similarity of a crop of `size` pixels, (2, 3) float64."""
    turn, zoom, *shift = rng.uniform(-1.0, 1.0, size=4)
    return similarity_about_centre(
        size,
        scale=np.exp(zoom * motion.log_scale),
        angle=np.deg2rad(turn * motion.angle_deg),
        shift=np.array(shift) * motion.shift * size,
    )


def change_colours(
    image: UInt8[NDArray, "h w 3"], rng: np.random.Generator, strength: Photometric
) -> UInt8[NDArray, "h w 3"]:
    """Light, colour, then the camera's faults: blur, noise, compression."""
    draws = rng.uniform(-1.0, 1.0, size=8)
    chance, amount = rng.random(3), rng.random(3)
    if strength.saturation:
        image = photometric.saturate(image, 1.0 + draws[7] * strength.saturation)
    if strength.gain or strength.bias or strength.log_gamma:
        image = photometric.tone(
            image,
            gain=1.0 + draws[0:3] * strength.gain,
            bias=draws[3:6] * strength.bias,
            gamma=float(np.exp(draws[6] * strength.log_gamma)),
        )
    if chance[0] < strength.blur_probability:
        image = photometric.blur(image, amount[0] * strength.blur_sigma)
    if chance[1] < strength.noise_probability:
        image = photometric.noise(image, amount[1] * strength.noise_sigma, rng)
    if chance[2] < strength.jpeg_probability:
        lowest = strength.jpeg_quality
        image = photometric.jpeg(image, round(lowest + amount[2] * (95 - lowest)))
    return image


def occlude(
    image: UInt8[NDArray, "h w 3"], rng: np.random.Generator, largest: float
) -> UInt8[NDArray, "h w 3"]:
    """An ellipse or a box of one colour over part of the picture, as a hand would be.

    Args:
        largest: the longest side of the patch in units of the image's.
    """
    size = image.shape[0]
    x, y = rng.uniform(0, size, size=2)
    width, height = rng.uniform(0.1, 1.0, size=2) * largest * size
    colour = rng.integers(0, 256, size=3).tolist()
    patch = ((x, y), (max(width, 1.0), max(height, 1.0)), rng.uniform(0, 180))
    image = image.copy()
    if rng.random() < 0.5:
        cv2.ellipse(image, patch, colour, thickness=-1, lineType=cv2.LINE_AA)
    else:
        corners = np.rint(cv2.boxPoints(patch)).astype(np.int32)
        cv2.fillConvexPoly(image, corners, colour, lineType=cv2.LINE_AA)
    return image
