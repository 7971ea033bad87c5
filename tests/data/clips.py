# SPDX-License-Identifier: Apache-2.0
"""Small videos, written with PyAV: a number of plain frames, times, a rotation."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def write_clip(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    times_ms: Sequence[int] | None = None,
    codec: str = "libx264",
    index_first: bool = False,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Encode frames nearly without loss; 25 a second, or at the times given. With
    `index_first` an mp4 can be read from its beginning on (ffmpeg's faststart). The
    width of a pixel, of its height, is `pixel_aspect`."""
    times = times_ms or [40 * i for i in range(len(frames))]
    muxer = {"movflags": "faststart"} if index_first else {}
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(codec, rate=1000 if codec == "libx264" else 25)
        stream.height, stream.width = frames[0].shape[:2]
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if codec == "libx264":
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "1", "bf": "0"}
            stream.codec_context.time_base = Fraction(1, 1000)
        else:
            stream.pix_fmt = "rgb8"
        for image, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if codec == "libx264":
                frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def gradient(width: int = 96, height: int = 64, shift: int = 0) -> np.ndarray:
    """Red grows to the right, green downwards; a blue block is moved by `shift`."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = (np.arange(width) * 200 // width)[None, :]
    image[..., 1] = (np.arange(height) * 200 // height)[:, None]
    left = 8 + shift % (width - 32)
    image[height // 4 : height // 2, left : left + 16, 2] = 250
    return image


def write_photo(path: Path, image: np.ndarray) -> Path:
    """A JPEG of an upright picture as a phone writes it: stored turned by 90 degrees
    counter-clockwise, with the EXIF orientation (6) that says how to turn it back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.rot90(image))
    stored.save(path, quality=95, subsampling=0, exif=exif)
    return path


def turn_clockwise(path: Path) -> None:
    """As a phone that is held upright writes it."""
    set_display(path, a=0, b=1, c=-1, d=0)


def set_display(path: Path, *, a: int, b: int, c: int, d: int) -> None:
    """Set the display matrix of an mp4's track (ISO 14496-12, `tkhd`: 9 numbers
    a b u c d v x y w)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes before the matrix
    matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    data[start : start + 36] = np.array(matrix, ">i4").tobytes()
    path.write_bytes(bytes(data))
