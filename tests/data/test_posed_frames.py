# SPDX-License-Identifier: Apache-2.0
"""Landmarks of a capture: what cannot be read costs its own view or frame alone."""

from i2z_jax.data import ibug
from i2z_jax.data.multiface import Capture
from i2z_jax.data.posed_frames import posed_frames
from tests.data.captures import CAMERAS, write_capture


def test_a_damaged_view_costs_that_view_alone(tmp_path, rng, capsys):
    capture, pts = Capture(write_capture(tmp_path / "capture")), tmp_path / "pts"
    frames = capture.frames[:3]
    for frame in frames:
        for name in CAMERAS:
            path = pts / frame.segment / name / f"{frame.number}.pts"
            path.parent.mkdir(parents=True, exist_ok=True)
            ibug.write_pts(path, rng.uniform(0, 99, (68, 2)))
    path.write_bytes(b"")
    capture.paths.transform(frames[0]).unlink()
    found, _ = posed_frames(capture, pts)
    assert [len(each.points) for each in found] == [3, 2]
    assert "2 gaps, the first: " in capsys.readouterr().err
