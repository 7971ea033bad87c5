# SPDX-License-Identifier: Apache-2.0
"""What the page of a track says of whose face it is."""

import re
from dataclasses import replace

import numpy as np
import pytest

from i2z_jax.evaluate.temporal import FrameFacts, Watch
from i2z_jax.report.track_page import (
    PageContent,
    jitter,
    standing_offset_mm,
    track_page,
)
from i2z_jax.stopwatch import Stopwatch
from i2z_jax.track.result import Status
from tests.track.tracks import STILL, track


def seen_off_by(offset_mm, rng, *, trembling_mm=0.0):
    """A head that turns in the picture, whose landmarks are seen `offset_mm` off."""
    pose = STILL.copy()
    pose[:, 3] = np.linspace(-1.0, 1.0, len(pose))  # tilt
    status = np.zeros(len(pose))
    status[10:20] = Status.LOST
    one = track(pose, status)
    posed = rng.uniform(20, 100, (len(pose), 68, 2))
    tilt, scale = pose[:, 3], one.frame_pose()[:, 0]
    turn = np.stack([np.cos(tilt), -np.sin(tilt), np.sin(tilt), np.cos(tilt)], -1)
    offset = np.broadcast_to(offset_mm, (len(pose), 68, 2))
    offset = offset + rng.normal(0, max(trembling_mm, 1e-9), offset.shape)
    offset = np.einsum("fij,flj->fli", turn.reshape(-1, 2, 2), offset)
    points = np.float32(posed + scale[:, None, None] * offset)
    points[10:20] = np.nan
    return replace(one, landmarks=points), posed


def test_what_stays_is_told_from_what_trembles(rng):
    mean = standing_offset_mm(*seen_off_by([3.0, 4.0], rng))
    assert mean == pytest.approx(5, rel=1e-3)
    # 3 mm on each axis in 80 frames: 3 sqrt(2 / 80) = 0.47 mm are left of it.
    noise = standing_offset_mm(*seen_off_by([0.0, 0.0], rng, trembling_mm=3.0))
    assert noise == pytest.approx(0.47, rel=0.3)


def test_the_jaw_which_slides_does_not_count(rng):
    off = np.zeros((68, 2))
    off[:17] = 9.0
    assert standing_offset_mm(*seen_off_by(off, rng)) < 1e-3


def test_without_a_landmark_stream_the_page_compares_with_no_landmarks(rng):
    one, posed = seen_off_by([3.0, 4.0], rng)
    assert "stand 5.0 mm off" in said(one, posed)
    assert "landmark residual" in said(one, posed)
    unseen = said(replace(one, landmarks=np.full_like(one.landmarks, np.nan)), posed)
    for words in ("mm off", "landmark residual", "landmarks seen"):
        assert words not in unseen
    assert "jitter, px" in unseen  # of the mesh


def said(one, posed) -> str:
    return track_page(one, PageContent([], posed, None, []), Stopwatch())


def test_the_mean_confidence_is_that_of_the_frames_with_the_face():
    """Bridged frames have none, lost ones too little."""
    status = np.zeros(90)
    status[30:60] = Status.INTERPOLATED
    status[60:70] = Status.LOST
    status[70:] = Status.UNREADABLE
    confidence = np.full(90, 0.75)
    confidence[30:60], confidence[60:70], confidence[70:] = 0, 0.1, np.nan
    one = replace(track(STILL, status), confidence=confidence)
    page = track_page(one, PageContent([], None, None, []), Stopwatch())
    assert re.search(r"0\.75\D+mean landmark confidence", page)


def test_jitter_stops_at_cuts_and_gaps_and_passes_over_repeats():
    """Frame 3 repeats frame 2, frame 5 begins a shot, and frame 9 is lost."""
    x = np.array([0, 1, 4, 4, 9, 50, 51, 52, 55, np.nan, 0, 0, 0])
    points = np.stack([x, np.zeros(13)], -1)[:, None].repeat(68, axis=1)
    one = replace(track(STILL[:13], cuts=[5]), duplicate=np.arange(13) == 3)
    expected = np.full(13, np.nan)
    expected[[1, 2, 6, 7, 11]] = 2, 2, 0, 2, 0  # |0 - 2 + 4|, |1 - 8 + 9|, ...
    np.testing.assert_allclose(jitter(points, one), expected)
    assert np.isnan(jitter(points[:2], one[:2])).all()


def test_jitter_is_that_of_the_evaluation(rng):
    """Which writes a figure in the row of the last of the three frames."""
    frames = 40
    cut = rng.uniform(size=frames) < 0.2
    cut[0] = True
    repeats = (rng.uniform(size=frames) < 0.3) & ~cut
    points = rng.uniform(0, 256, (frames, 68, 2))
    points[repeats] = 0  # whatever they say
    one = replace(track(STILL[:frames], cuts=np.flatnonzero(cut)), duplicate=repeats)
    whole = np.tile([[1.0, 0, 0], [0, 1, 0]], (frames, 1, 1))
    facts = FrameFacts(
        np.arange(frames) / 30, cut, repeats, whole, 256, False, False, 0
    )
    mesh, texture = np.zeros((frames, 68, 3)), np.zeros((frames, 1, 1, 3))
    seen = Watch(facts).see(mesh, points / 128 - 1, texture, texture[..., 0])
    ours, theirs = jitter(points, one), seen["jitter_px"]
    assert np.isfinite(ours).sum() > 5
    np.testing.assert_allclose(ours[np.isfinite(ours)], theirs[np.isfinite(theirs)])


@pytest.mark.parametrize("smoothed", [True, False])
def test_the_page_says_what_smoothing_brought(smoothed):
    """Every second frame 0.5 px aside, and 2 px before."""
    one = track(STILL)
    still = np.full((len(STILL), 68, 2), 100.0)
    wobble = np.stack([np.arange(len(STILL)) % 2, np.zeros(len(STILL))], -1)[:, None]
    pixels = one.frame_pose()[0, 0]
    raw = still + 2 * wobble if smoothed else None
    content = PageContent([], still + 0.5 * wobble, raw, [])
    page = track_page(one, content, Stopwatch())
    assert f"1.00 px, {1 / pixels:.2f} mm" in page
    before = f"4.00 px, {4 / pixels:.2f} mm without smoothing"
    assert (before in page) == smoothed
    assert ("mesh, not smoothed" in page) == smoothed


def test_a_thousand_lost_frames_are_one_span(rng):
    """At an uneven rate; in the plot of the angles and in that of the confidence."""
    status = np.zeros(1500)
    status[300:1300] = Status.LOST
    times = np.cumsum(rng.uniform(0.01, 0.06, 1500))
    one = replace(track(np.tile(STILL[:1], (1500, 1)), status), time_s=times)
    page = track_page(one, PageContent([], None, None, []), Stopwatch())
    found = re.findall(r'<rect class="lost" x="([\d.]+)"[^>]* width="([\d.]+)"', page)
    assert len(found) == 2
    (start, width), other = (tuple(map(float, f)) for f in found)
    assert (start, width) == other
    whole = times[-1] - times[0]
    assert width / 652 == pytest.approx((times[1300] - times[300]) / whole, abs=1 / 652)
