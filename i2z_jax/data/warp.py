# SPDX-License-Identifier: Apache-2.0
"""One picture through one affine map: pixel centres at +0.5, no aliasing.

The maps are those of `geometry/crop.py`, 2x3, `crop_from_image`. OpenCV puts pixel
centres at whole numbers, and this file is where the half pixel is added and removed.
"""

import cv2
import numpy as np

from i2z_jax.geometry.crop import compose, invert, similarity
from i2z_jax.types import ArrayLike, Float, NDArray, UInt8

_HALF = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])
_MINUS_HALF = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5]])


def sample_crop(
    image: UInt8[NDArray, "h w 3"],
    crop_from_image: Float[ArrayLike, "2 3"],
    size: int,
    border: int = cv2.BORDER_CONSTANT,
) -> UInt8[NDArray, "size size 3"]:
    """The crop of `size` pixels that a map describes, bilinearly sampled.

    An image that is to shrink to less than half is first averaged over whole blocks
    of pixels: bilinear sampling alone would skip pixels.

    Args:
        border: what lies outside the image, an OpenCV border mode.
    """
    image, crop_from_image = _shrink(image, np.asarray(crop_from_image))
    if np.array_equal(crop_from_image, _IDENTITY) and image.shape[:2] == (size, size):
        return image.copy()
    return warped(image, crop_from_image, (size, size), border)


def resized(image: UInt8[NDArray, "h h 3"], size: int) -> UInt8[NDArray, "size size 3"]:
    """A square picture at another size."""
    scale = size / image.shape[0]
    affine = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
    return sample_crop(image, affine, size, cv2.BORDER_REPLICATE)


def warped(
    image: UInt8[NDArray, "h w *c"],
    out_from_image: Float[NDArray, "2 3"],
    size: tuple[int, int],
    border: int = cv2.BORDER_CONSTANT,
) -> UInt8[NDArray, "h2 w2 *c"]:
    """An image moved by a map, bilinearly sampled, as a picture of width and height."""
    inverse = compose(_MINUS_HALF, compose(invert(out_from_image), _HALF))
    inverse = np.asarray(inverse)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, inverse, size, flags=flags, borderMode=border)


def similarity_about_centre(
    size: int,
    *,
    scale: float = 1.0,
    angle: float = 0.0,
    shift: Float[NDArray, "2"] | float = 0.0,
) -> Float[NDArray, "2 3"]:
    """Zoom and turn (rad, clockwise) a crop about its centre, then shift by pixels."""
    centre = np.full(2, size / 2)
    turn = similarity(np.asarray(scale), np.asarray(angle), np.zeros(2))
    turn = np.asarray(turn)
    turn[:, 2] = centre - turn[:, :2] @ centre + shift
    return turn


def mirror_map(size: int) -> Float[NDArray, "2 3"]:
    """Left and right exchanged: x -> size - x."""
    return np.array([[-1.0, 0.0, size], [0.0, 1.0, 0.0]])


_IDENTITY = similarity_about_centre(2)


def _shrink(
    image: np.ndarray, crop_from_image: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    zoom = np.sqrt(abs(np.linalg.det(crop_from_image[:, :2])))
    block = int(0.999 / zoom)
    height, width = (side // block for side in image.shape[:2]) if block > 1 else (0, 0)
    if not height or not width:
        return image, crop_from_image
    # The last rows and columns that fill no block are less than a crop pixel wide.
    blocks = image[: height * block, : width * block]
    small = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_AREA)
    grow = np.array([[block, 0.0, 0.0], [0.0, block, 0.0]])
    return np.asarray(small), np.asarray(compose(crop_from_image, grow))
