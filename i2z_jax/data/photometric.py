# SPDX-License-Identifier: Apache-2.0
"""Changes of colour and sharpness that leave the geometry of a picture alone.

Shared by training augmentation (`augment.py`) and by the evaluation scenarios
(`perturb.py`). Images are RGB uint8 in and out; amounts are arguments, random or not.
"""

import functools

import cv2
import numpy as np

from i2z_jax.data import images
from i2z_jax.types import Float, NDArray, UInt8

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Rec. 601 luma
_LEVELS = np.linspace(0.0, 1.0, 256)[:, None]
_NOISE_SIDE = 512


def tone(
    image: UInt8[NDArray, "h w 3"],
    *,
    gain: Float[NDArray, "3"] | float = 1.0,
    bias: Float[NDArray, "3"] | float = 0.0,
    gamma: float = 1.0,
) -> UInt8[NDArray, "h w 3"]:
    """`gain x^gamma + bias` per channel, x in [0, 1]; one table look-up per pixel."""
    table = _LEVELS**gamma * np.broadcast_to(gain, 3) + np.broadcast_to(bias, 3)
    table = np.rint(np.clip(table, 0.0, 1.0) * 255).astype(np.uint8)
    return cv2.LUT(image, table.reshape(1, 256, 3))


def saturate(image: UInt8[NDArray, "h w 3"], amount: float) -> UInt8[NDArray, "h w 3"]:
    """Colours scaled away from grey: 0 is greyscale, 1 changes nothing."""
    matrix = amount * np.eye(3, dtype=np.float32) + (1 - amount) * _GREY[None]
    return cv2.transform(image, matrix)


def blur(image: UInt8[NDArray, "h w 3"], sigma: float) -> UInt8[NDArray, "h w 3"]:
    """Gaussian blur, sigma in pixels; 0 changes nothing."""
    if sigma <= 0:
        return image
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def noise(
    image: UInt8[NDArray, "h w 3"], sigma: float, rng: np.random.Generator
) -> UInt8[NDArray, "h w 3"]:
    """Normal noise, sigma in grey levels of 255, the same for no two `rng` states.

    The noise is a window into a fixed torus of samples: drawing 200,000 fresh ones
    would cost more than decoding the image.
    """
    height, width = image.shape[:2]
    row, column = rng.integers(0, _NOISE_SIDE, size=2)
    if sigma <= 0:
        return image
    sheet = _noise_sheet(-(-height // _NOISE_SIDE) + 1, -(-width // _NOISE_SIDE) + 1)
    window = sheet[row : row + height, column : column + width]
    return cv2.addWeighted(
        image, 1.0, window, sigma / _NOISE_LEVEL, 0.0, dtype=cv2.CV_8U
    )


def jpeg(image: UInt8[NDArray, "h w 3"], quality: int) -> UInt8[NDArray, "h w 3"]:
    """The image after JPEG compression, quality 1 to 100."""
    # Channel order decides which colours are kept best, so JPEG must know it.
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return images.decode(encoded.tobytes())


# Standard deviation of the stored noise; int16 keeps its tails and a fine step.
_NOISE_LEVEL = 1000.0


@functools.cache
def _noise_sheet(rows: int, columns: int) -> np.ndarray:
    shape = (_NOISE_SIDE, _NOISE_SIDE, 3)
    samples = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return np.tile((samples * _NOISE_LEVEL).astype(np.int16), (rows, columns, 1))
