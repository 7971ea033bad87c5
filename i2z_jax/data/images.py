# SPDX-License-Identifier: Apache-2.0
"""Pictures and bytes: strict on what a user gives, quick on what we wrote.

One place decides how a picture is read (RGB, 8 bits, turned as its EXIF says only on
request: landmarks and calibrations are in the pixels as stored) and what a damaged one
says.
"""

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from i2z_jax.errors import InputError
from i2z_jax.files import read_bytes
from i2z_jax.types import NDArray, UInt8

Codec = Literal["png", "jpeg", "webp"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")

# 4:4:4 keeps colour edges (lips, eyes) where a texture is compared texel by texel.
_ENCODE = {
    "png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 4]),
    "jpeg": (
        ".jpg",
        [
            *(cv2.IMWRITE_JPEG_QUALITY, 95),
            *(
                cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
                cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
            ),
        ],
    ),
    "webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 90]),
}
# Pillow's names of what is in a file, as "RGB;16B"; "BGR;16" has 5 or 6 a channel.
_SIXTEEN_BITS = re.compile(r";16[BLN]")
_MASK = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 9]


def read_picture(path: str | Path, *, upright: bool = False) -> UInt8[NDArray, "h w 3"]:
    """A picture a user gave, whole and 8 bits a channel, as RGB.

    Args:
        path: the file.
        upright: turn it as its EXIF says, for what a phone held upright took.

    Raises:
        InputError: unreadable, truncated, not a picture, too large to be one, or with
            more than 8 bits a channel.
    """
    return decode_strictly(read_bytes(path), path, upright=upright)


def decode_strictly(
    data: bytes, where: str | Path, *, upright: bool = False
) -> UInt8[NDArray, "h w 3"]:
    """As `read_picture`, from bytes; `where` is named in the error."""
    if not data:
        raise InputError("empty file", where=where, expected="a picture")
    try:
        with warnings.catch_warnings():
            # What Pillow remarks and reads all the same is not ours to say.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as picture:
                if picture.mode[0] in "IF" or _is_cut_to_8_bits(picture):
                    raise InputError(
                        "not 8 bits a channel",
                        where=where,
                        got=f"{picture.format} of more",
                        fix="convert it, as `ffmpeg -i IN -pix_fmt rgb24 OUT.png` does",
                    )
                turned = ImageOps.exif_transpose(picture) if upright else picture
                return np.array(turned.convert("RGB"))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            "too large for a picture",
            where=where,
            expected=f"{2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels at most",
            fix="shrink it",
        ) from error
    except UnidentifiedImageError as error:  # whose text is of our buffer's address
        raise InputError("damaged or not a picture", where=where) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on bad bytes
        raise InputError(f"damaged or not a picture ({error})", where=where) from error


def _is_cut_to_8_bits(picture: ImageFile.ImageFile) -> bool:
    """Whether Pillow, whose colours have 8 bits, would drop the lower half of 16."""
    return any(_SIXTEEN_BITS.search(str(tile[3])) for tile in picture.tile)


def decode(data: bytes) -> UInt8[NDArray, "h w 3"]:
    """The RGB picture of an `image` field; quick, for bytes that are known good."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ValueError("these bytes are no picture")
    return image


def decode_texture(record: Mapping[str, Any]) -> UInt8[NDArray, "t t 3"]:
    """The RGB texture of a record, row 0 at v = 0 (files have it last).

    Exactly 0 where it was not `seen`.
    """
    data = np.frombuffer(record["seen"], np.uint8)
    mask = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    return cv2.copyTo(decode(record["texture"]), mask)[::-1]


def encode_texture(texture: UInt8[NDArray, "t t 3"], codec: Codec) -> dict[str, bytes]:
    """The fields `texture` and `seen` of a record; zeros were not seen."""
    seen = _seen(texture)
    if codec != "png":
        texture = _extended(texture, seen)
    return {"texture": encode(texture, codec), "seen": _encoded(seen)}


def encode_seen(texture: UInt8[NDArray, "t t 3"]) -> bytes:
    """The field `seen` beside a texture: PNG, 255 where there is a colour."""
    return _encoded(_seen(texture))


def encode(image: UInt8[NDArray, "h w 3"], codec: Codec) -> bytes:
    """RGB -> bytes: PNG is lossless, JPEG quality 95 without chroma subsampling, WebP
    quality 90."""
    suffix, options = _ENCODE[codec]
    done, data = cv2.imencode(suffix, image[..., ::-1], options)
    if not done:
        raise ValueError(f"cannot encode a picture of shape {image.shape} as {codec}")
    return data.tobytes()


def _encoded(mask: UInt8[NDArray, "t t"]) -> bytes:
    return cv2.imencode(".png", mask, _MASK)[1].tobytes()


def _seen(texture: UInt8[NDArray, "t t 3"]) -> UInt8[NDArray, "t t"]:
    """255 where there is a colour."""
    red, green, blue = np.moveaxis(texture, -1, 0)
    return np.asarray(cv2.threshold(red | green | blue, 0, 255, cv2.THRESH_BINARY)[1])


def _extended(
    texture: UInt8[NDArray, "t t 3"], seen: UInt8[NDArray, "t t"]
) -> UInt8[NDArray, "t t 3"]:
    """What was seen, continued over its border: black beside it would ring into it."""
    if seen.all() or not seen.any():
        return texture
    # Wider than the blocks of 8 and 16 that the codecs work in.
    colours, texels = (
        cv2.boxFilter(x, cv2.CV_32F, (33, 33), normalize=False)
        for x in (texture, seen // 255)
    )
    counts = cv2.merge([np.maximum(texels, 1)] * 3)
    near = np.asarray(cv2.divide(colours, counts, dtype=cv2.CV_8U))
    near[texels == 0] = np.round(cv2.mean(texture, seen)[:3])
    return np.asarray(cv2.copyTo(texture, seen, near))
