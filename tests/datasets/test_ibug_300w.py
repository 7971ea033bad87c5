# SPDX-License-Identifier: Apache-2.0
"""300-W: the right pictures in the right split, landmarks on their pixels."""

import os

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from i2z_jax.data import build_ibug, ibug, images, records
from i2z_jax.data.build_ibug import build
from i2z_jax.data.build_options import BuildOptions
from i2z_jax.errors import InputError
from tests.data.landmark_folders import face, write_layout, write_pair
from tests.datasets.interrupted import interrupted

NAME = "ibug_300w"


def rows(out, split):
    found = records.open_split(out, NAME, split)
    return [found[i] for i in range(len(found))]


@pytest.fixture
def source(tmp_path, rng):
    return write_layout(tmp_path / "300W_folder", rng)


def test_published_counts():
    counts = {split: ibug.published_count(split) for split in ibug.SPLITS}
    assert counts == {"train": 3148, "common": 554, "challenging": 135, "private": 600}
    assert counts["common"] + counts["challenging"] == 689


def test_pictures_are_stored_as_they_are_and_landmarks_sit_on_them(source, tmp_path):
    summary = build((source,), tmp_path / "out", BuildOptions())
    assert summary.counts == {
        "": {"train": 6, "common": 4, "challenging": 2, "private": 4}
    }
    for record in rows(tmp_path / "out", "train+common+challenging+private"):
        path = source / record["id"].decode()
        assert record["image"] == path.read_bytes()
        image = images.decode(record["image"])
        x, y = np.floor(record["landmarks"]).astype(int).T
        assert (image[y, x] == (255, 0, 0)).all()
        np.testing.assert_allclose(record["landmarks"] % 1, 0.5, atol=1e-4)
    names = {r["id"] for r in rows(tmp_path / "out", "challenging")}
    assert b"ibug/image_092 _01.png" in names


@pytest.mark.parametrize(
    ("suffix", "kind", "mode"),
    [(".png", "TGA", "RGB"), (".tif", "TIFF", "LAB")],
    ids=["that training cannot decode", "of other colours to training"],
)
def test_a_picture_is_stored_as_it_was_read(source, tmp_path, suffix, kind, mode):
    path = source / "afw" / "image_000.png"
    picture = Image.open(path).convert(mode)
    path.unlink()
    picture.save(path.with_suffix(suffix), kind)
    build((source,), tmp_path / "out", BuildOptions())
    (record,) = [
        r for r in rows(tmp_path / "out", "train") if b"afw/image_000" in r["id"]
    ]
    seen = images.decode(record["image"]).astype(int)
    assert np.abs(seen - np.asarray(picture.convert("RGB"))).mean() < 4


def test_full_is_common_and_challenging(source, tmp_path):
    build((source,), tmp_path, BuildOptions())
    full = {r["id"] for r in rows(tmp_path, "common+challenging")}
    parts = [{r["id"] for r in rows(tmp_path, s)} for s in ("common", "challenging")]
    assert full == parts[0] | parts[1]
    assert len(full) == 6


def test_a_partial_collection_says_what_is_missing(source, tmp_path):
    summary = build((source,), tmp_path, BuildOptions())
    assert len(summary.gaps) == 4
    assert "train has 6 pictures, published 3148 (afw 2 of 337" in summary.gaps[0]
    with pytest.raises(InputError, match="published 3148"):
        build((source,), tmp_path / "strict", BuildOptions(strict=True))


def test_mirrored_copies_are_left_out(source, tmp_path, rng):
    write_pair(source / "helen" / "trainset" / "image_000_mirror", rng)
    write_pair(source / "ibug" / "image_001_flip", rng)
    build((source,), tmp_path, BuildOptions())
    ids = [r["id"] for r in rows(tmp_path, "train+common+challenging+private")]
    assert len(ids) == 16
    assert not any(b"mirror" in name or b"flip" in name for name in ids)


def test_detector_boxes_win_over_landmarks_and_are_named(source, tmp_path):
    (source / "Bounding_Boxes").mkdir()
    entry = np.empty(2, object)
    for i, name in enumerate(("image_092_01.png", "image_001.png")):
        entry[i] = {
            "imgName": name,
            "bb_detector": np.array([[11.0, 21.0, 91.0, 81.0]]),
            "bb_ground_truth": np.array([[1.0, 2.0, 3.0, 4.0]]),
        }
    savemat(
        source / "Bounding_Boxes" / "bounding_boxes_ibug.mat",
        {"bounding_boxes": entry},
    )
    build((source,), tmp_path, BuildOptions())
    for record in rows(tmp_path, "challenging"):
        assert record["box_source"] == b"detector"
        np.testing.assert_allclose(record["box"], [10.5, 20.5, 90.5, 80.5])
    for record in rows(tmp_path, "train"):
        assert record["box_source"] == b"landmarks"
        points = record["landmarks"]
        np.testing.assert_allclose(record["box"], [*points.min(0), *points.max(0)])


def test_a_large_photo_is_cut_around_the_face(source, tmp_path, rng):
    small, points = face(rng)
    scale, offset = 16, np.array([500, 900])
    photo = np.full((4000, 3000, 3), 90, np.uint8)
    big = small.repeat(scale, axis=0).repeat(scale, axis=1)
    photo[900 : 900 + len(big), 500 : 500 + len(big[0])] = big
    stem = source / "afw" / "photo"
    stem.with_suffix(".png").write_bytes(images.encode(photo, "png"))
    ibug.write_pts(stem.with_suffix(".pts"), points * scale + offset)
    build((source,), tmp_path, BuildOptions())
    (record,) = [r for r in rows(tmp_path, "train") if b"photo" in r["id"]]
    image = images.decode(record["image"])
    assert len(record["image"]) < 300_000
    box = record["box"]
    assert 300 < max(box[2] - box[0], box[3] - box[1]) < 325
    # Every landmark is still in the middle of its red square.
    x, y = np.floor(record["landmarks"]).astype(int).T
    assert (image[y, x, 0] > 200).all()
    assert (image[y, x, 1] < 60).all()
    affine = record["crop_from_image"].astype(float)
    back = (record["landmarks"] - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T
    np.testing.assert_allclose(back, points * scale + offset, atol=1e-2)


def test_bad_files_cost_only_themselves(source, tmp_path):
    afw, lfpw = source / "afw", source / "lfpw" / "testset"
    data = (afw / "image_000.png").read_bytes()
    (afw / "image_000.png").write_bytes(data[: len(data) // 2])
    (afw / "image_001.pts").write_text(
        "version: 1\nn_points: 67\n{\n" + "1 2\n" * 67 + "}"
    )
    (lfpw / "image_000.pts").write_text(
        "version: 1\nn_points: 68\n{\n" + "a b\n" * 68 + "}"
    )
    (lfpw / "image_001.pts").unlink()
    (source / "ibug" / "loop.png").symlink_to("loop.png")
    (moved := source / "ibug" / "image_001.png").unlink()
    moved.symlink_to("elsewhere.png")
    summary = build((source,), tmp_path, BuildOptions())
    assert summary.counts[""] == {
        "train": 4, "common": 2, "challenging": 1, "private": 4
    }  # fmt: skip
    for words in (
        "afw/image_000.png: damaged or not a picture",
        "afw/image_001.pts: wrong number of points (expected 68, got 67)",
        "lfpw/testset/image_000.pts: not a number",
        "lfpw/testset/image_001.png: no .pts beside it",
        "ibug/loop.png: no .pts beside it",
        "ibug/image_001.png: cannot read (No such file",
    ):
        (line,) = [gap for gap in summary.gaps if words in gap]
        assert "\n" not in line


def test_landmarks_corrected_meanwhile_are_in_the_build_that_goes_on(source, tmp_path):
    path = source / "afw" / "image_000.pts"
    interrupted(build_ibug, (source,), tmp_path / "out", BuildOptions())
    corrected = ibug.read_pts(path) + 2
    ibug.write_pts(path, corrected)
    os.utime(path, (1, 1))  # it is as large as before, and the clock may be coarse
    build((source,), tmp_path / "out", BuildOptions())
    (record,) = [
        r for r in rows(tmp_path / "out", "train") if r["id"] == b"afw/image_000.png"
    ]
    np.testing.assert_allclose(record["landmarks"], corrected, atol=1e-4)


def test_a_build_of_nothing_leaves_what_was_built(source, tmp_path):
    build((source,), tmp_path, BuildOptions())
    before = rows(tmp_path, "train")
    for path in source.rglob("*.pts"):
        path.unlink()
    with pytest.raises(InputError, match=r"nothing could .*no \.pts beside it"):
        build((source,), tmp_path, BuildOptions(overwrite=True))
    np.testing.assert_equal(rows(tmp_path, "train"), before)


def test_not_300w(tmp_path):
    with pytest.raises(InputError, match="not a 300-W folder"):
        build((tmp_path,), tmp_path / "out", BuildOptions())
