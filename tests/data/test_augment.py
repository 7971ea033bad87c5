# SPDX-License-Identifier: Apache-2.0
"""Labels stay on what they label: drawn marks are found again and compared."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from i2z_jax.data.augment import (
    LandmarkAugment,
    Motion,
    Photometric,
    RegressionAugment,
    augment_landmarks,
    augment_regression,
    change_colours,
    occlude,
)
from i2z_jax.data.landmarks68 import MIRROR, PARTS
from i2z_jax.data.warp import sample_crop
from i2z_jax.geometry.camera import project_weak

STILL = Photometric(*[0.0] * 9, jpeg_quality=100)
# Far apart in every channel: a mark is known by its colour alone.
LEVELS = (60, 105, 150, 195, 240)
COLOURS = np.array([(r, g, b) for r in LEVELS for g in LEVELS for b in LEVELS])
TOLERANCE = 10

# The markup's own figure, viewer's left to right (300-W: ibug.doc.ic.ac.uk).
PAIRS = """0-16 1-15 2-14 3-13 4-12 5-11 6-10 7-9 17-26 18-25 19-24 20-23 21-22 31-35
32-34 36-45 37-44 38-43 39-42 40-47 41-46 48-54 49-53 50-52 55-59 56-58 60-64 61-63
65-67"""


def draw(points: np.ndarray, side: int, radius: float = 7.0) -> np.ndarray:
    """A disc of its own colour around each point (pixel centres at +0.5)."""
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1) + 0.5
    image = np.zeros((side, side, 3), np.uint8)
    for point, colour in zip(points, COLOURS, strict=False):
        cover = np.clip(radius + 0.5 - np.linalg.norm(grid - point, axis=-1), 0, 1)
        image += np.rint(cover[..., None] * colour).astype(np.uint8)
    return image


def find(image: np.ndarray, number: int) -> np.ndarray | None:
    """Centre of the pixels that have the colour of mark `number`; None if hidden."""
    near = np.abs(image.astype(int) - COLOURS[number]).max(axis=-1) < TOLERANCE
    # The rim of a brighter mark has this colour too, in thin pieces.
    _, piece, stats, _ = cv2.connectedComponentsWithStats(near.astype(np.uint8))
    if len(stats) == 1:
        return None
    largest = 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    rows, columns = np.nonzero(piece == largest)
    # A mark cut by the border has its centre elsewhere.
    whole = len(rows) > 30 and min(rows.min(), columns.min()) > 2
    if not whole or max(rows.max(), columns.max()) > image.shape[0] - 4:
        return None
    # On black, brightness says how much of a rim pixel the mark covers.
    window = np.s_[
        rows.min() - 1 : rows.max() + 2, columns.min() - 1 : columns.max() + 2
    ]
    weight = image[window].sum(axis=-1, dtype=float)
    y, x = (np.indices(weight.shape) * weight).sum(axis=(1, 2)) / weight.sum()
    return np.array([columns.min() - 0.5 + x, rows.min() - 0.5 + y])


@pytest.fixture(scope="module")
def marked() -> dict:
    """68 marks in 9 rows, well apart, in a picture twice as large as the crop."""
    places = [(x, y) for y in range(60, 460, 47) for x in range(60, 460, 47)][:68]
    points = np.array(places) + np.random.default_rng(0).uniform(-4, 4, (68, 2))
    box = np.array([40.0, 40.0, 470.0, 470.0])
    return {"image": draw(points, 512), "landmarks": points, "box": box}


@pytest.mark.parametrize("seed", range(6))
def test_landmarks_sit_on_their_marks(marked, seed):
    mirrored = seed % 2
    strength = LandmarkAugment(
        photometric=STILL, mirror_probability=float(mirrored), occluder_probability=0.0
    )
    rng = np.random.default_rng(seed)
    done = augment_landmarks(marked, rng, size=400, strength=strength)
    assert done["image"].shape == (400, 400, 3)
    found = 0
    for j in range(68):
        # The viewer's left eye of a mirrored picture was the right eye.
        centre = find(done["image"], MIRROR[j] if mirrored else j)
        if centre is not None:
            found += 1
            np.testing.assert_allclose(done["landmarks"][j], centre, atol=0.1)
    assert found > 55


def test_the_mirror_is_the_markups_own():
    expected = np.arange(68)
    for pair in PAIRS.split():
        a, b = map(int, pair.split("-"))
        expected[[a, b]] = b, a
    np.testing.assert_array_equal(MIRROR, expected)
    covered = np.concatenate([np.arange(68)[part] for part in PARTS.values()])
    np.testing.assert_array_equal(covered, np.arange(68))


def test_evaluation_crops_and_changes_nothing_else(marked):
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    # A face 20 px wide and high: by framing.py the crop is 36 px, its centre 4.8 px
    # above the face's.
    points = np.array([[22.0, 26.8], [42.0, 46.8]])[np.arange(68) % 2]
    example = {"image": image, "landmarks": points, "box": np.array([0.0, 0, 9, 9])}
    done = augment_landmarks(example, np.random.default_rng(0), size=36, strength=None)
    np.testing.assert_array_equal(done["image"], image[14:50, 14:50])
    np.testing.assert_allclose(done["landmarks"], points - 14, rtol=1e-6)
    assert "box" not in done


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("stored", "size"), [(256, 256), (320, 224)])
def test_the_head_pose_moves_with_the_crop(seed, stored, size):
    pose = np.array([0.009, 0.2, -0.3, 0.15, 0.05, -0.04])
    cloud = np.array([(x, y, 5 * x % 40) for x in (-60, 0, 60) for y in (-60, 0, 60)])
    points = project_weak(pose, cloud.astype(float))[:, :2]
    image = draw((points + 1) / 2 * stored, stored)
    strength = RegressionAugment(photometric=STILL)
    example = {"image": image, "pose": pose, "vertices": cloud}
    rng = np.random.default_rng(seed)
    done = augment_regression(example, rng, size=size, strength=strength)
    moved = project_weak(np.float64(done["pose"]), cloud.astype(float))[:, :2]
    marks = [find(done["image"], number) for number in range(9)]
    seen = [number for number, mark in enumerate(marks) if mark is not None]
    assert len(seen) >= 6
    for number in seen:
        expected = (moved[number] + 1) / 2 * size
        np.testing.assert_allclose(marks[number], expected, atol=0.1)
    assert np.abs(moved - points).max() > 0.02, "nothing moved: nothing was tested"
    assert done["vertices"] is example["vertices"]


def test_no_pixel_is_skipped_when_a_large_picture_shrinks():
    stripes = np.zeros((600, 600, 3), np.uint8)
    stripes[:, ::2] = 255  # at a fifth of the size: an even grey
    affine = np.array([[0.2, 0.0, 3.3], [0.0, 0.2, 1.7]])
    crop = sample_crop(stripes, affine, 100).astype(float)
    assert np.abs(crop[10:-10, 10:-10] - 127.5).max() < 2


def test_a_shrunk_mark_stays_in_place():
    point = np.array([[301.3, 211.7]])
    image = draw(point, 600, radius=40)
    affine = np.array([[0.23, 0.0, 1.0], [0.0, 0.23, 5.0]])
    expected = point[0] * 0.23 + (1.0, 5.0)
    centre = find(sample_crop(image, affine, 128), 0)
    np.testing.assert_allclose(centre, expected, atol=0.1)


def test_draws_come_from_the_generator_alone(marked):
    runs = [
        augment_landmarks(marked, np.random.default_rng(seed), size=128)
        for seed in (5, 5, 6)
    ]
    np.testing.assert_array_equal(runs[0]["image"], runs[1]["image"])
    np.testing.assert_array_equal(runs[0]["landmarks"], runs[1]["landmarks"])
    assert not np.array_equal(runs[0]["image"], runs[2]["image"])


def test_colours_change_and_places_do_not(rng):
    image = cv2.GaussianBlur(
        rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), (0, 0), 3
    )
    np.testing.assert_array_equal(change_colours(image, rng, STILL), image)
    strong = replace(
        Photometric(), blur_probability=1.0, noise_probability=1.0, jpeg_probability=1.0
    )
    changed = change_colours(image, rng, strong)
    assert not np.array_equal(changed, image)
    here, there = (np.float64(im).mean(axis=-1).ravel() for im in (image, changed))
    assert np.corrcoef(here, there)[0, 1] > 0.8


def test_noise_has_the_asked_level(rng):
    from i2z_jax.data.photometric import noise

    grey = np.full((300, 700, 3), 128, np.uint8)
    difference = noise(grey, 6.0, rng).astype(float) - 128
    assert abs(difference.mean()) < 0.1
    assert abs(difference.std() - 6.0) < 0.15
    again = noise(grey, 6.0, rng)
    assert not np.array_equal(again, difference + 128), "a new window every time"


def test_occluders_hide_part_of_the_picture(rng):
    image = rng.integers(0, 256, (100, 100, 3), dtype=np.uint8)
    shares = [
        (occlude(image, rng, 0.4) != image).any(axis=-1).mean() for _ in range(40)
    ]
    assert 0 < np.median(shares) < 0.16
    assert max(shares) < 0.17


def test_a_still_camera_is_still(rng):
    image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pose = np.float32([0.01, 0.1, 0.2, 0.3, 0.4, 0.5])
    still = RegressionAugment(motion=Motion(0.0, 0.0, 0.0), photometric=STILL)
    done = augment_regression(
        {"image": image, "pose": pose}, rng, size=64, strength=still
    )
    np.testing.assert_array_equal(done["image"], image)
    np.testing.assert_allclose(done["pose"], pose, atol=1e-7)
