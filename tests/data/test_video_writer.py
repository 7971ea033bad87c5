# SPDX-License-Identifier: Apache-2.0
"""What was given is what players show: H.273's tags, and the colours they stand for."""

import av
import numpy as np
import pytest

from i2z_jax.data.video import read_frames
from i2z_jax.data.video_writer import write_video
from tests.data.clips import gradient

BT709, LIMITED = 1, 1
COLOURS = np.array(
    [[200, 120, 90], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255] * 3, [40, 20, 15]],
    np.uint8,
)


@pytest.mark.parametrize("size", [(852, 480), (1280, 720)], ids=["480p", "720p"])
def test_colours_are_coded_as_the_file_says(tmp_path, size):
    """Players that find no tags take the smaller for BT.601, the larger for BT.709."""
    width, height = size
    columns = np.arange(width) * len(COLOURS) // width
    picture = np.broadcast_to(COLOURS[columns], (height, width, 3))
    path = tmp_path / "clip.mp4"
    write_video(path, [(0.0, picture), (0.1, picture)], preset="veryfast")
    with av.open(str(path)) as container:
        declared = container.streams.video[0].codec_context
        frame = next(container.decode(video=0))
        for tagged in (declared, frame):
            assert tagged.colorspace == tagged.color_primaries == BT709
            assert tagged.color_trc == BT709
            assert tagged.color_range == LIMITED
    # BT.709's luma, colour difference and quantisation: what a player shows.
    centres = ((np.arange(len(COLOURS)) + 0.5) * width / len(COLOURS)).astype(int)
    luma, blue, red = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
        for plane in frame.planes
    )
    y = (luma[height // 2, centres] - 16.0) / 219
    cb = (blue[height // 4, centres // 2] - 128.0) / 224
    cr = (red[height // 4, centres // 2] - 128.0) / 224
    r, b = y + 1.5748 * cr, y + 1.8556 * cb
    shown = np.stack([r, (y - 0.2126 * r - 0.0722 * b) / 0.7152, b], axis=1)
    np.testing.assert_allclose(255 * shown, COLOURS, atol=4)
    read = next(read_frames(path)).image[height // 2, centres]
    np.testing.assert_allclose(read.astype(int), COLOURS, atol=4)


def test_times_are_kept_and_the_last_frame_lasts_as_long_as_usual(tmp_path):
    path = tmp_path / "clip.mp4"
    times = np.array([3.0, 3.5, 3.5, 3.6])
    frames = [(time, gradient(shift=i)) for i, time in enumerate(times)]
    assert write_video(path, frames, fps=10) == 4
    read = [frame.time_s for frame in read_frames(path)]
    np.testing.assert_allclose(read, times - 3, atol=1e-4)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(0.7)
