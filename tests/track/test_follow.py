# SPDX-License-Identifier: Apache-2.0
"""Crops by the face's own landmarks: framed as in training, followed, given up."""

import numpy as np
import pytest

from i2z_jax.data import framing
from i2z_jax.data.row_files import RowFiles
from i2z_jax.data.video import read_frames
from i2z_jax.data.video_analysis import Scan, scan
from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.topology import landmark_points
from i2z_jax.stopwatch import Stopwatch
from i2z_jax.track.follow import crop_maps, follow, refined, squares
from i2z_jax.track.networks import CropLandmarks
from tests.data.clips import write_clip
from tests.track import worlds

AVERAGE = landmark_points(worlds.topology(), worlds.average())
FRAMES = 60
# px per mm of the faces in the clip.
SCALE = 0.25


def head(i):
    """Where the face of frame i is, px."""
    return np.array([50 + i, 60 + 8 * np.sin(i / 9)])


def landmarks(i):
    return head(i) + SCALE * AVERAGE[:, :2] * [1, -1]


class DiscEye:
    """Sees the disc's middle in a crop, and puts the face's landmarks around it."""

    size, batch_size = 64, 4

    def __init__(self):
        self.batches = []

    def landmarks(self, crops):
        self.batches.append(len(crops))
        points, confidence = [], []
        for crop in crops:
            rows, columns = np.nonzero(crop.max(axis=-1) > 150)
            radius = np.sqrt(max(len(rows), 1) / np.pi)
            middle = np.array([columns.mean(), rows.mean()]) + 0.5 if len(rows) else 0
            pose = np.array([SCALE * radius / 26, 0, 0, 0, 0, 0])
            flat = project_weak(pose, AVERAGE)[:, :2] + middle
            points.append(flat)
            confidence.append(np.full(68, 0.9 if len(rows) > 60 else 0.05))
        return CropLandmarks(np.array(points), np.array(confidence))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """The face is there until frame 45."""
    folder = tmp_path_factory.mktemp("follow")
    pictures = [worlds.picture(*head(i), 26 if i < 45 else 0) for i in range(FRAMES)]
    return write_clip(folder / "clip.mp4", pictures)


def scanned(boxes):
    there = np.isfinite(boxes[:, 0])
    start = np.arange(len(boxes)) == 0
    everywhere = np.ones(len(boxes), bool)
    return Scan(
        np.arange(len(boxes)) / 25,
        boxes,
        there,
        start,
        ~everywhere,
        everywhere,
        np.array([160, 120]),
    )


def rough_boxes(rng):
    """A detector that is off by 5 px, and blind after frame 20."""
    middles = np.array([head(i) for i in range(FRAMES)]) + rng.normal(0, 5, (FRAMES, 2))
    boxes = np.concatenate([middles - 24, middles + 24], axis=1)
    boxes[20:] = np.nan
    return boxes


def test_crops_are_those_of_training_and_go_on_without_the_detector(video, rng):
    eye = DiscEye()
    places = follow(
        video, scanned(rough_boxes(rng)), eye, AVERAGE, min_confidence=0.3,
        clock=Stopwatch(),
    )  # fmt: skip
    assert places.seen[:45].all()
    # Confidence falls with the face; the crop that was tried last is the last one.
    assert not places.seen[45:].any()
    assert np.isnan(places.square[45:]).all()
    for i in range(4, 41):  # the ends are smoothed from one side
        points = landmarks(i)
        box = np.array([*points.min(axis=0), *points.max(axis=0)])
        truth = framing.crop_for_box(box, "landmarks", 64)
        ours = crop_maps(places.square[i], 64)
        corners = np.array([[60.0, 40, 1], [100, 80, 1]])
        np.testing.assert_allclose(corners @ ours.T, corners @ truth.T, atol=2.5)
    # Frames with a box in whole batches, one by one only where there is none.
    assert eye.batches == [4] * 5 + [1] * 26


def test_a_face_that_leaves_and_returns_elsewhere(tmp_path):
    """Scan and follow together: lost while away, found where it comes back."""
    away = range(25, 85)
    centres = [(50 + i, 60) if i < 25 else (40, 70) for i in range(110)]
    pictures = [
        worlds.picture(*c, 0 if i in away else 26) for i, c in enumerate(centres)
    ]
    video, clock = write_clip(tmp_path / "clip.mp4", pictures), Stopwatch()
    kept = RowFiles(tmp_path, "faces")
    found = scan(video, read_frames(video), worlds.detect_disc, total=110, kept=kept)
    places = follow(video, found, DiscEye(), AVERAGE, min_confidence=0.3, clock=clock)
    there = np.isfinite(places.square[:, 0])
    # The detector's track holds on to an end for a moment; nothing is seen there.
    assert places.seen[:25].all()
    assert places.seen[85:].all()
    assert not places.seen[25:85].any()
    assert not there[40:70].any()
    middle = (places.square[:, :2] + places.square[:, 2:]) / 2
    seen = places.seen & (np.arange(110) > 3)
    offset = middle[seen] - np.array(centres)[seen]
    # The framing's own, the same in every frame.
    assert np.abs(offset - np.median(offset, axis=0)).max() < 3


def test_landmarks_that_are_no_face_are_not_believed(rng):
    square, middle = np.array([0.0, 0.0, 64.0, 64.0]), np.array([32.0, 32.0])
    face = middle + 0.15 * AVERAGE[:, :2] * [1, -1]
    for points, believed in (
        (face, True),
        (face + rng.normal(0, 1.5, face.shape), True),
        (rng.permutation(face), False),
        # In one spot: to the last bit, or but for rounding.
        *((np.full((68, 2), spot), False) for spot in np.linspace(0, 64, 99)),
    ):
        found = refined(points, square, AVERAGE, 64)
        assert np.isfinite(found).all() == believed


def test_doubtful_landmarks_leave_the_detectors_box(video, rng):
    boxes = rough_boxes(rng)
    places = follow(
        video, scanned(boxes), DiscEye(), AVERAGE, min_confidence=0.95,
        clock=Stopwatch(),
    )  # fmt: skip
    assert not places.seen.any()
    assert np.isnan(places.square[20:]).all()
    rough = squares(boxes[:20], "detector", 64)
    middle = (rough[:, :2] + rough[:, 2:]) / 2
    ours = (places.square[:20, :2] + places.square[:20, 2:]) / 2
    assert np.abs(middle - ours).mean() < 6
