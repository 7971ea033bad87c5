# SPDX-License-Identifier: Apache-2.0
"""From a rendered face to a phone picture: background, colour, blur, noise.

Each is a function of an explicit random state; `video` and `landmark_set` combine
them.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from i2z_jax.data import photometric
from i2z_jax.types import Float, NDArray, UInt8


@dataclass(frozen=True)
class Conditions:
    """Photometric degradation of a picture."""

    gain: Float[NDArray, "3"]
    gamma: float
    saturation: float
    blur_px: float
    noise_levels: float

    @classmethod
    def sample(cls, difficulty: float, rng: np.random.Generator) -> "Conditions":
        """Conditions whose spread grows with `difficulty` in [0, 1]."""
        exposure = np.exp(rng.normal() * 0.18 * difficulty)
        cast = np.exp(rng.normal(size=3) * 0.12 * difficulty)
        return cls(
            gain=exposure * cast,
            gamma=float(np.exp(rng.normal() * 0.15 * difficulty)),
            saturation=float(np.clip(1 + rng.normal() * 0.25 * difficulty, 0.4, 1.6)),
            blur_px=float(rng.uniform(0, 1.2) * difficulty),
            noise_levels=float(rng.uniform(2, 8) * difficulty),
        )

    def apply(
        self, image: UInt8[NDArray, "h w 3"], rng: np.random.Generator
    ) -> UInt8[NDArray, "h w 3"]:
        """Apply them to a picture."""
        image = photometric.tone(image, gain=self.gain, gamma=self.gamma)
        image = photometric.saturate(image, self.saturation)
        image = photometric.blur(image, self.blur_px)
        return photometric.noise(image, self.noise_levels, rng)


def srgb(linear: Float[NDArray, "*b 3"]) -> UInt8[NDArray, "*b 3"]:
    """Linear light in [0, 1] as sRGB bytes (IEC 61966-2-1)."""
    linear = np.clip(linear, 0.0, 1.0)
    curve = 1.055 * np.power(linear, 1 / 2.4) - 0.055
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, curve)
    return np.rint(encoded * 255).astype(np.uint8)


def composite(
    image: Float[NDArray, "h w 3"],
    mask: Float[NDArray, "h w"],
    behind: Float[NDArray, "h w 3"],
) -> UInt8[NDArray, "h w 3"]:
    """Composite premultiplied linear colour over a background; sRGB out."""
    return srgb(image + (1 - mask[..., None]) * behind)


def background(
    rng: np.random.Generator, *, width: int, height: int
) -> Float[NDArray, "h w 3"]:
    """Random cluttered background in linear light."""
    # Rooms and streets are mostly grey and brown: brightness varies more than hue.
    palette = rng.uniform(0.1, 0.9, (6, 1)) ** 2.2 * np.exp(
        rng.normal(size=(6, 3)) * 0.3
    )
    corners = palette[rng.integers(0, 6, (2, 2))].astype(np.float32)
    scene = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    scene = np.ascontiguousarray(scene)
    side = max(width, height)
    for _ in range(rng.integers(8, 22)):
        colour = tuple(float(c) for c in palette[rng.integers(6)] * rng.uniform(0.4, 2))
        centre = rng.uniform(-0.1, 1.1, 2) * (width, height)
        size = rng.uniform(0.03, 0.35, 2) * side
        box = (tuple(centre), tuple(size), float(rng.uniform(-30, 30)))
        if rng.random() < 0.65:
            corners = cv2.boxPoints(box).astype(np.int32)
            cv2.fillConvexPoly(scene, corners, colour, cv2.LINE_AA)
        else:
            cv2.ellipse(scene, box, colour, -1, cv2.LINE_AA)
    for scale in (4, 16, 64):
        grain = rng.normal(size=(height // scale + 2, width // scale + 2, 1))
        grain = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
        scene *= np.exp(0.12 * grain)[..., None].astype(np.float32)
    # A phone focuses on the face.
    sigma = rng.uniform(0.002, 0.01) * side
    return np.clip(cv2.GaussianBlur(scene, (0, 0), sigma), 0, 1)


def occlude(
    image: UInt8[NDArray, "h w 3"],
    box: Float[NDArray, "4"],
    rng: np.random.Generator,
) -> UInt8[NDArray, "h w 3"]:
    """Put something in front of a part of the face: a hand's or a cup's size."""
    centre = rng.uniform(box[:2], box[2:])
    size = rng.uniform(0.15, 0.45, 2) * (box[2:] - box[:2]).max()
    colour = tuple(int(c) for c in rng.integers(20, 230, 3))
    where = (tuple(centre), tuple(size), float(rng.uniform(0, 180)))
    covered = image.copy()
    if rng.random() < 0.5:
        cv2.ellipse(covered, where, colour, -1, cv2.LINE_AA)
    else:
        corners = cv2.boxPoints(where).astype(np.int32)
        cv2.fillConvexPoly(covered, corners, colour, cv2.LINE_AA)
    shading = rng.normal(size=(8, 8, 1)).astype(np.float32) * 12
    shape = (image.shape[1], image.shape[0])
    relief = cv2.resize(shading, shape, interpolation=cv2.INTER_CUBIC)[..., None]
    changed = np.any(covered != image, axis=-1, keepdims=True)
    lit = np.clip(covered + relief, 0, 255).astype(np.uint8)
    return np.where(changed, lit, image)
