# SPDX-License-Identifier: Apache-2.0
"""Pictures with times -> an mp4 that every player opens."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

from i2z_jax.types import NDArray, UInt8

# Ticks a second: what mp4 players expect, and fine enough for any frame rate.
TICKS = 90_000


def write_video(
    path: Path,
    frames: Iterable[tuple[float, UInt8[NDArray, "h w 3"]]],
    *,
    crf: float = 20.0,
    preset: str = "medium",
) -> int:
    """H.264 with the frames' own times, which need not be evenly spaced.

    Args:
        path: the file.
        frames: `(seconds, RGB)` in order, even width and height; the first is shown
            at 0, and one that is not later than the one before a tick after it.
        crf: x264's constant rate factor; 18 looks untouched.
        preset: x264's, how long it looks for a smaller file.

    Returns:
        how many frames were written.
    """
    count, start, tick = 0, 0.0, -1
    with av.open(str(path), "w", format="mp4") as container:
        stream = None
        for time_s, image in frames:
            if stream is None:
                start = time_s
                stream = container.add_stream(
                    "libx264", rate=30, options={"crf": f"{crf:g}", "preset": preset}
                )
                # Whole frames beside each other; libav's slices of one are slower.
                stream.thread_type = "FRAME"
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = Fraction(1, TICKS)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            tick = max(round((time_s - start) * TICKS), tick + 1)
            frame.pts, frame.time_base = tick, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
            count += 1
        if stream is not None:
            container.mux(stream.encode())
    return count
