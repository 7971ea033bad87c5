# SPDX-License-Identifier: Apache-2.0
"""Smoothing keeps what is still, calms what trembles, and lags as stated."""

from dataclasses import replace

import numpy as np
import pytest

from i2z_jax.data.box_track import LONGEST_MISS
from i2z_jax.track.result import Status
from i2z_jax.track.smooth import interpolated, latency_s, one_euro, smoothed
from tests.track.tracks import STILL, track


def test_a_still_face_stays():
    result = smoothed(track(STILL), 1.0)
    np.testing.assert_allclose(result.pose, STILL, rtol=1e-5)


def test_frames_of_one_time_do_not_hasten_the_others():
    """As of a folder that has each frame twice, as .jpg and as .png."""
    twice = replace(track(STILL[:6]), time_s=np.repeat(np.arange(3), 2) / 30)
    assert twice.fps == pytest.approx(30)
    assert replace(twice, time_s=np.zeros(6)).fps == 0


def test_frames_a_second_are_those_of_the_video():
    """Of one that lost frames, in a container that counts milliseconds."""
    times = np.round(np.delete(np.arange(92), [20, 21]) / 30, 3)
    assert replace(track(STILL), time_s=times).fps == pytest.approx(30, rel=1e-3)
    # Of 0.png, 1.png and 10.png, no step is the usual one.
    few = replace(track(STILL[:3]), time_s=np.array([0, 1, 10]) / 30)
    assert few.fps == pytest.approx(30)


def test_trembling_is_calmed(rng):
    noisy = STILL + rng.normal(0, 1, STILL.shape) * [1e-5, 2e-3, 2e-3, 2e-3, 2e-3, 2e-3]
    result = smoothed(track(noisy), 1.0)
    before, after = (
        np.diff(p[20:], 2, axis=0).std(axis=0) for p in (noisy, result.pose)
    )
    assert (after < 0.4 * before).all()


def test_a_crop_that_jumps_is_no_motion():
    """The same head in other crops: nothing to smooth away."""
    crops = np.tile([[0.5, 0, -10.0], [0, 0.5, -20.0]], (90, 1, 1))
    moved = STILL.copy()
    crops[45:, 0, 2] -= 6.4
    moved[45:, 4] -= 0.2
    result = smoothed(track(moved, crop=crops), 1.0)
    np.testing.assert_allclose(result.pose, moved, atol=1e-5)


@pytest.mark.parametrize("cutoff", [1.0, 4.0])
def test_a_slow_motion_lags_as_stated(cutoff):
    times = np.arange(2000) / 200
    speed = 1e-3  # far below what counts as quick
    values = (speed * times)[:, None]
    starts = times == 0
    late = values - one_euro(values, times, starts, cutoff)
    assert late[-1, 0] / speed == pytest.approx(latency_s(cutoff), rel=0.05)


def test_a_quick_motion_lags_less():
    times = np.arange(400) / 200
    values = (20 * times)[:, None]
    late = values - one_euro(values, times, times == 0, 1.0)
    assert late[-1, 0] / 20 < 0.2 * latency_s(1.0)


def test_lost_frames_are_bridged_and_marked_on_request():
    pose = STILL.copy()
    pose[:, 2] = np.linspace(-0.5, 0.5, 90)
    status = np.zeros(90)
    status[:5] = status[40:50] = Status.LOST
    status[60] = Status.UNREADABLE
    result = interpolated(track(pose, status))
    np.testing.assert_allclose(result.pose[5:], pose[5:], atol=1e-5)
    bridged = result.status == Status.INTERPOLATED
    assert np.flatnonzero(bridged).tolist() == [*range(40, 50), 60]
    assert (result.status[:5] == Status.LOST).all()
    assert np.isnan(result.pose[:5]).all()
    assert (result.confidence[bridged] == 0).all()


def two_shots(cut=45):
    """The head stands still in each, elsewhere and turned the other way round."""
    pose = STILL.copy()
    pose[:cut, 3], pose[cut:, 3] = 3.1, -3.1
    pose[cut:, :2] = 0.004, -0.2
    pose[cut:, 4:] = -0.1, 0.3
    return pose


def test_smoothing_does_not_reach_across_a_cut():
    pose = two_shots()
    result = smoothed(track(pose, cuts=[45]), 1.0)
    for values in (result.pose, result.z):
        assert np.ptp(values[:45], axis=0).max() == 0
        assert np.ptp(values[45:], axis=0).max() == 0
    np.testing.assert_allclose(result.pose, pose, rtol=1e-5)
    np.testing.assert_allclose(result.z, np.float32(pose[:, :3]))
    # The same frames as one shot: they slide.
    assert np.ptp(smoothed(track(pose), 1.0).pose[45:, 4]) > 0.03


def test_lost_frames_are_not_bridged_across_a_cut():
    """Wherever in the gap it is: before, within, or at the end of it."""
    pose, status = two_shots(), np.zeros(90)
    status[20:23] = status[40:50] = status[60:63] = Status.LOST
    for cut in (40, 45, 50):
        result = interpolated(track(pose, status, cuts=[cut]))
        bridged = np.flatnonzero(result.status == Status.INTERPOLATED)
        assert bridged.tolist() == [20, 21, 22, 60, 61, 62], cut
        assert (result.status[40:50] == Status.LOST).all()
        for values in (result.z, result.pose, result.landmarks, result.crop_from_image):
            assert np.isnan(values[40:50]).all()
            assert np.isfinite(values[bridged]).all()


def test_a_face_that_was_away_for_long_is_not_made_up():
    frames = 3 * LONGEST_MISS
    pose = np.tile(STILL[:1], (frames, 1))
    for missed, bridged in ((LONGEST_MISS, LONGEST_MISS), (LONGEST_MISS + 1, 0)):
        status = np.zeros(frames)
        status[30 : 30 + missed] = Status.LOST
        result = interpolated(track(pose, status))
        assert (result.status == Status.INTERPOLATED).sum() == bridged
        assert (result.status == Status.LOST).sum() == missed - bridged


def test_an_unreadable_frame_hides_no_gap_in_time():
    status = np.zeros(90)
    status[[20, 60]] = Status.UNREADABLE
    value = track(STILL, status)
    value.time_s[61:] += 10
    bridged = interpolated(value).status == Status.INTERPOLATED
    assert np.flatnonzero(bridged).tolist() == [20]


def test_nothing_to_bridge():
    for status in (np.zeros(90), np.full(90, Status.LOST)):
        result = interpolated(track(STILL, status))
        assert result.status.tolist() == status.tolist()


def test_smoothing_starts_anew_after_a_gap():
    pose = STILL.copy()
    pose[50:, 2] = 0.7
    status = np.zeros(90)
    status[40:50] = Status.LOST
    result = smoothed(track(pose, status), 0.5)
    np.testing.assert_allclose(result.pose[50:], pose[50:], rtol=1e-5)
    assert np.isnan(result.pose[40:50]).all()
