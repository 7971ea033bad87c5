# SPDX-License-Identifier: Apache-2.0
"""The box track: steady on trembling detections, true to real motion."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from i2z_jax.data import box_track
from i2z_jax.data.box_track import track
from i2z_jax.data.face_detector import opencv_detector
from i2z_jax.data.images import read_picture
from i2z_jax.synth import wild

# Six synthetic people, 360 px each.
PEOPLE = Path(__file__).parents[2] / "docs" / "pictures" / "wild_frames.jpg"


def detection(x, y, side, score=5.0):
    return np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2, score]])


NONE = np.zeros((0, 5))


def centres(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def test_trembling_is_smoothed_and_motion_followed(rng):
    x = 200 + 2.0 * np.arange(60)
    seen = [detection(a + rng.normal(0, 3), 150 + rng.normal(0, 3), 100) for a in x]
    boxes, found = track(seen, np.zeros(60, bool))
    assert found.all()
    raw = np.array([d[0, :4] for d in seen])
    inner = slice(6, -6)
    error = np.abs(centres(boxes)[inner, 0] - x[inner])
    assert error.max() < 5
    tremble = np.abs(np.diff(centres(boxes)[inner], 2, axis=0)).mean()
    assert tremble < 0.2 * np.abs(np.diff(centres(raw)[inner], 2, axis=0)).mean()
    width = boxes[:, 2] - boxes[:, 0]
    np.testing.assert_allclose(width, boxes[:, 3] - boxes[:, 1], rtol=1e-6)


def test_misses_are_bridged_and_false_alarms_ignored():
    seen = [detection(200, 150, 100) for _ in range(40)]
    seen[10:15] = [NONE] * 5
    for i in (3, 12, 20, 30):  # a lamp, more certain than the face, here and there
        seen[i] = np.concatenate([detection(50, 40, 60, score=9.0), seen[i]])
    boxes, found = track(seen, np.zeros(40, bool))
    np.testing.assert_allclose(centres(boxes), np.tile([200, 150], (40, 1)), atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(~found), np.arange(10, 15))


def test_nothing_is_carried_across_a_cut_or_a_long_absence():
    seen = [detection(100, 100, 80)] * 20 + [NONE] * 20
    starts = np.zeros(40, bool)
    starts[20] = True
    boxes, _ = track(seen, starts)
    assert np.isfinite(boxes[:20]).all()
    assert np.isnan(boxes[20:]).all()
    away = (
        [detection(100, 100, 80)] * 20 + [NONE] * 200 + [detection(100, 100, 80)] * 20
    )
    boxes, _ = track(away, np.zeros(240, bool))
    assert np.isnan(boxes[100]).all()
    # The longer-lived appearance counts; both are equally long here, the first wins.
    assert np.isfinite(boxes[:20]).all()


def longest_of_all_chains(detections):
    """The chain that is followed, every detection compared with all that ever was."""
    chains = []
    for frame, seen in enumerate(detections):
        for box in seen:
            near = []
            for number, chain in enumerate(chains):
                when, old = chain[-1]
                side, other = old[2] - old[0], box[2] - box[0]
                shift = np.abs(old[:2] + old[2:4] - box[:2] - box[2:4]).max() / 2
                step = max(shift / side, abs(np.log(other / side)))
                if 1 <= frame - when <= 45 and step <= 0.5:
                    near.append((step, number))
            if near:
                chains[min(near)[1]].append((frame, box))
            else:
                chains.append([(frame, box)])
    return max(
        chains,
        key=lambda chain: sum(max(b[4], 0.1) * (b[2] - b[0]) for _, b in chain),
    )


def test_chains_that_are_over_need_not_be_searched(rng):
    """False alarms start chains all the time; what is found must not depend on how
    those that can reach no further are kept."""
    seen = []
    for frame in range(400):
        there = [] if 150 <= frame < 210 else [detection(200 + frame, 150, 100)]
        lamps = [
            detection(*rng.uniform(0, 300, 2), rng.uniform(30, 90), rng.uniform(0, 9))
            for _ in range(rng.integers(0, 3))
        ]
        seen.append(np.concatenate([NONE, *there, *lamps]))
    found = box_track._best_chain(seen)
    expected = longest_of_all_chains(seen)
    assert [frame for frame, _ in found] == [frame for frame, _ in expected]
    np.testing.assert_array_equal(
        [box for _, box in found], [box[:4] for _, box in expected]
    )


def test_the_search_does_not_grow_with_the_video(monkeypatch):
    compared = []
    step = box_track.box_step
    monkeypatch.setattr(
        box_track,
        "box_step",
        lambda old, new: (compared.append(len(old)), step(old, new))[1],
    )
    # Each is too far from those before to go on from one.
    track([detection(1000.0 * i, 0, 50) for i in range(500)], np.zeros(500, bool))
    assert max(compared) == box_track.LONGEST_MISS


def test_the_detector_finds_no_face_in_noise(rng):
    noise = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
    assert opencv_detector(noise).shape[1] == 5
    assert opencv_detector(np.zeros((64, 64, 3), np.uint8)).shape == (0, 5)


def test_a_small_face_in_a_large_picture_is_found(rng):
    """One of 130 px in 1080p: the first look begins at 144."""
    person = read_picture(PEOPLE)[:, :360]
    (whole,) = opencv_detector(person)
    scale = 130 / (whole[2] - whole[0])
    small = cv2.resize(person, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture = wild.srgb(wild.background(rng, width=1920, height=1080))
    picture[500 : 500 + small.shape[0], 1200 : 1200 + small.shape[1]] = small
    (box,) = opencv_detector(picture)
    np.testing.assert_allclose(box[:4], scale * whole[:4] + [1200, 500] * 2, atol=16)


def test_busy_backgrounds_are_no_small_faces():
    """One of these passes for a face where as few windows must agree as at first."""
    rng = np.random.default_rng(2)
    for _ in range(8):
        picture = wild.srgb(wild.background(rng, width=640, height=360))
        assert opencv_detector(picture).shape == (0, 5)


def test_threads_find_the_faces_that_one_finds():
    """Pictures of many sizes at once: the cascade remembers the one it looks at."""
    row = read_picture(PEOPLE)
    people = [row[:, x : x + 360] for x in range(0, 2160, 360)]
    scaled = [cv2.resize(f, None, fx=s, fy=s) for s in (0.6, 0.8, 1) for f in people]
    alone = [opencv_detector(image) for image in scaled]
    assert sum(map(len, alone)) > 12
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(opencv_detector, scaled))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
