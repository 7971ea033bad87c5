# SPDX-License-Identifier: Apache-2.0
"""Pictures with times -> an mp4 that every player opens, in the colours given."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from i2z_jax.types import NDArray, UInt8

# Ticks a second: what mp4 players expect, and fine enough for any frame rate.
TICKS = 90_000
# x264's lookahead reads memory it did not write: with it, equal frames do not always
# give equal bytes.
REPRODUCIBLE = "threads=1:rc-lookahead=0:mbtree=0"


def write_video(
    path: Path,
    frames: Iterable[tuple[float, UInt8[NDArray, "h w 3"]]],
    *,
    fps: int = 30,
    crf: float = 20.0,
    preset: str = "medium",
    reproducible: bool = False,
) -> int:
    """H.264 with the frames' own times, which need not be evenly spaced.

    RGB is coded as BT.709 of limited range, and the file says so: players guess the
    colours of a file that is silent, and guess by its size.

    Args:
        path: the file.
        frames: `(seconds, RGB)` in order, even width and height; the first is shown
            at 0, and one that is not later than the one before a tick after it.
        fps: the usual frame rate; the last frame is shown as long.
        crf: x264's constant rate factor; 18 looks untouched.
        preset: x264's, how long it looks for a smaller file.
        reproducible: equal frames give equal bytes, by one thread.

    Returns:
        how many frames were written.
    """
    count, start, tick = 0, 0.0, -1
    coding = {"crf": f"{crf:g}", "preset": preset}
    if reproducible:
        coding["x264-params"] = REPRODUCIBLE
    with av.open(str(path), "w", format="mp4") as container:
        stream = None
        for time_s, image in frames:
            if stream is None:
                start = time_s
                stream = container.add_stream("libx264", rate=fps, options=coding)
                # Whole frames beside each other; libav's slices of one are slower.
                stream.thread_type = "FRAME"
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
                codec = stream.codec_context
                codec.time_base = Fraction(1, TICKS)
                codec.colorspace = Colorspace.ITU709
                codec.color_range = ColorRange.MPEG
                codec.color_primaries = ColorPrimaries.BT709
                codec.color_trc = ColorTrc.BT709
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            tick = max(round((time_s - start) * TICKS), tick + 1)
            frame.pts, frame.time_base = tick, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
            count += 1
        if stream is not None:
            container.mux(stream.encode())
    return count
