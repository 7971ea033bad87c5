# SPDX-License-Identifier: Apache-2.0
"""What a run makes of what its passes left."""

import numpy as np

from i2z_jax.data.video_analysis import Scan
from i2z_jax.files import write_npz
from i2z_jax.track import run
from i2z_jax.track.follow import Places
from i2z_jax.track.result import Status


def test_only_frames_that_were_looked_at_have_a_confidence(tmp_path):
    """A face, a doubtful one, an unreadable frame between boxes, no face."""
    box = np.tile([10.0, 10.0, 50.0, 50.0], (4, 1))
    box[3] = np.nan
    readable = np.array([True, True, False, True])
    found = np.array([True, True, False, False])
    cut = np.array([True, False, True, True])  # as the first pass says of these
    repeats = np.array([False, True, False, False])
    size = np.array([160, 120])
    scan = Scan(np.arange(4.0), box, found, cut, repeats, readable, size)
    write_npz(tmp_path / "scan.npz", scan._asdict())
    places = Places(box, np.zeros(4, bool))
    write_npz(tmp_path / "places.npz", places._asdict())
    said = np.float32([0.8, 0.1, 0.7, 0.7])
    values = {
        "z": np.ones((4, 8), np.float32),
        "pose": np.ones((4, 6), np.float32),
        "landmarks": np.ones((4, 68, 2), np.float32),
        "landmark_confidence": np.repeat(said[:, None], 68, axis=1),
    }
    write_npz(tmp_path / "rows-00000.npz", values)
    options = run.Options(min_confidence=0.2)
    track = run.collect(tmp_path / "clip.mp4", tmp_path, options, 64)
    states = [Status.TRACKED, Status.LOST, Status.UNREADABLE, Status.LOST]
    assert track.status.tolist() == states
    expected = [0.8, 0.1, np.nan, np.nan]
    np.testing.assert_allclose(track.confidence, expected, rtol=1e-6)
    np.testing.assert_allclose(track.landmark_confidence[:, 5], expected, rtol=1e-6)
    assert np.isfinite(track.z).all(axis=1).tolist() == [True, False, False, False]
    # An unreadable frame is no cut, nor is the one after it.
    assert track.cut.tolist() == [True, False, False, False]
    assert track.duplicate.tolist() == repeats.tolist()
