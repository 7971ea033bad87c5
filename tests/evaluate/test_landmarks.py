# SPDX-License-Identifier: Apache-2.0
"""Landmark scores of a network that sees every point, or each a known way off."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from i2z_jax.data.pipeline import LandmarkPictures
from i2z_jax.data.targets import heatmap_targets
from i2z_jax.errors import InputError
from i2z_jax.evaluate import landmarks
from i2z_jax.evaluate.landmarks import LandmarkProtocol
from i2z_jax.evaluate.metrics import landmark_scale
from i2z_jax.geometry.crop import box_of_points
from i2z_jax.models.hourglass import Hourglass
from tests.evaluate import worlds

PROTOCOL = LandmarkProtocol(worlds.SIDE)


class Oracle(Hourglass):
    """Paints the true landmarks of the crops it knows, moved by some pixels."""

    def __init__(self, crops, points, shift):
        self.crops = nnx.Variable(jnp.asarray(crops) / 255)
        self.points = nnx.Variable(jnp.asarray(points + np.float32(shift)))

    def __call__(self, image):
        points = self.points[...][worlds.recognised(image, self.crops[...])]
        side = worlds.SIDE
        return [heatmap_targets(points, crop_size=side, map_size=side, sigma=1.0).maps]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return worlds.landmark_pictures(tmp_path_factory.mktemp("pictures"))


def crops(pictures, protocol=PROTOCOL):
    source, rng = LandmarkPictures(pictures, "common"), np.random.default_rng(0)
    return [protocol.apply(source[i], rng) for i in range(len(source))]


def scores(pictures, runner, shift=(0.0, 0.0), protocol=PROTOCOL, **options):
    known = crops(pictures, protocol)
    images = np.stack([crop["image"] for crop in known])
    points = np.stack([crop["landmarks"] for crop in known])
    models = Oracle(images, points, shift)
    evaluate = partial(landmarks.evaluate_landmarks, models, pictures, "common")
    return evaluate(protocol, runner, **options), points


def test_a_perfect_predictor_scores_zero(pictures, runner):
    found, _ = scores(pictures, runner)
    (row,) = found.rows
    # Soft-argmax decodes a bell of sigma 1 to a thousandth of a cell.
    assert row["nme_percent"] < 0.1
    assert row["auc"] > 0.98
    assert row["failure_percent"] == 0


def test_points_three_and_four_pixels_off(pictures, runner):
    found, points = scores(
        pictures, runner, (3, 4), normalisers=("inter-ocular", "box"), threshold=0.2
    )
    for row in found.rows:
        each = 5 / landmark_scale(points, row["normaliser"])
        assert row["nme_percent"] == pytest.approx(100 * each.mean(), rel=0.01)
        failures = 100 * (each > 0.2).mean()
        assert row["failure_percent"] == pytest.approx(failures)


def test_every_line_says_how_it_was_measured(pictures, runner):
    found, _ = scores(pictures, runner, threshold=0.07, normalisers=("box",))
    (row,) = found.rows
    assert (row["split"], row["faces"], row["predictor"]) == ("common", 5, "hourglass")
    assert (row["normaliser"], row["threshold"]) == ("box", "0.07")
    assert row["boxes"] == "1 detector, 4 landmarks"
    assert row["crop"] == "tracker framing, 64 px"
    tight = LandmarkProtocol(worlds.SIDE, "landmarks")
    (row,) = scores(pictures, runner, protocol=tight)[0].rows
    assert row["boxes"] == "5 landmarks"
    assert row["crop"] == "tracker framing, 64 px"


def test_tight_boxes_are_cut_around_the_truth(pictures):
    for crop in crops(pictures, LandmarkProtocol(worlds.SIDE, "landmarks")):
        left, top, right, bottom = box_of_points(crop["landmarks"])
        assert max(right - left, bottom - top) == pytest.approx(worlds.SIDE / 1.8)
        assert (left + right) / 2 == pytest.approx(worlds.SIDE / 2, abs=1e-3)


def test_a_detectors_box_is_as_tight_as_the_landmarks(pictures):
    """300-W's, unlike a cascade's: the crop shows as much of the head around it."""
    example = dict(LandmarkPictures(pictures, "common")[0])
    example["box"] = np.array([20.0, 34.0, 60.0, 66.0])  # beside the landmarks' box
    crop = PROTOCOL.apply(example, np.random.default_rng(0))
    points = np.asarray(example["landmarks"])
    scale = np.ptp(crop["landmarks"], 0) / np.ptp(points, 0)
    np.testing.assert_allclose(scale, worlds.SIDE / (1.8 * 40), rtol=1e-4)
    # Its middle lies below the crop's by as much as that of a tight box.
    middle = crop["landmarks"][0] + scale * (np.array([40.0, 50.0]) - points[0])
    expected = worlds.SIDE * np.array([0.5, 0.5 + 0.24 / 1.8])
    np.testing.assert_allclose(middle, expected, atol=1e-3)


def test_full_is_common_and_challenging(pictures, runner):
    """As the published tables say; these pictures are of the first alone."""
    nothing = Oracle(np.zeros((1, 4, 4, 3)), np.zeros((1, 68, 2)), 0)
    with pytest.raises(InputError, match=r"no such split .*got challenging"):
        landmarks.evaluate_landmarks(nothing, pictures, "full", PROTOCOL, runner)


def test_splits_that_were_built(pictures):
    assert landmarks.splits_of(pictures) == ["common"]


def test_a_threshold_of_zero_is_refused(pictures, runner):
    nothing = Oracle(np.zeros((1, 4, 4, 3)), np.zeros((1, 68, 2)), 0)
    with pytest.raises(InputError, match="threshold: not above 0"):
        landmarks.evaluate_landmarks(
            nothing, pictures, "common", PROTOCOL, runner, threshold=0.0
        )
