# SPDX-License-Identifier: Apache-2.0
"""The 300-W folder: `.pts` by its rules, points on what was drawn there."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2z_jax.data import ibug
from i2z_jax.data.build_ibug import build
from i2z_jax.data.build_options import BuildOptions
from i2z_jax.data.check import check
from i2z_jax.errors import InputError
from i2z_jax.synth.landmark_set import (
    LandmarkOptions,
    folder_counts,
    write_landmarks,
)
from i2z_jax.synth.subject import Subject
from tests.data.landmark_folders import write_layout
from tests.synth.multiface_reader import dot_centre, files
from tests.synth.pattern_head import TEXTURE, PatternHead, dotted_texture, vertex

# Five landmarks far apart, painted in colours that nothing else has.
PAINTED = {0: (1, 0, 0), 7: (0, 1, 0), 32: (0, 0, 1), 60: (1, 1, 0), 67: (0, 1, 1)}
OPTIONS = LandmarkOptions(count=12, width=288, height=288, seed=2)


@pytest.fixture(scope="module")
def sitter() -> Subject:
    head = PatternHead()
    corners = vertex(head.landmark_rows, head.landmark_columns)
    dots = {int(corners[mark]): colour for mark, colour in PAINTED.items()}
    texture = dotted_texture(head.topology, dots, radius_mm=6.0)
    return Subject(head, lambda vertices, position, light: texture, TEXTURE)


def render(sitter, out, options=OPTIONS, **origin) -> int:
    return write_landmarks(lambda rng: sitter, options, out, origin=origin)


@pytest.fixture(scope="module")
def folder(sitter, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("landmarks") / "300w"
    render(sitter, out)
    return out


def pts(path: Path) -> np.ndarray:
    lines = path.read_text().split("\n")
    assert lines[0].startswith("version:")
    assert lines[1].split(":")[1].strip() == "68"
    assert lines[2] == "{"
    assert lines[71] == "}"
    return np.array([line.split() for line in lines[3:71]], float)


def test_every_folder_of_the_layout_has_pictures(folder):
    for name in (
        "afw", "helen/trainset", "helen/testset", "lfpw/trainset", "lfpw/testset",
        "ibug", "300W/01_Indoor", "300W/02_Outdoor",
    ):  # fmt: skip
        pictures = sorted(p.stem for p in (folder / name).glob("*.png"))
        points = sorted(p.stem for p in (folder / name).glob("*.pts"))
        assert pictures == points
        assert pictures


def test_painted_landmarks_are_where_the_file_says(folder):
    """Colours are found in the picture; no projection is involved."""
    errors = []
    for path in sorted(folder.rglob("*.pts")):
        image = np.asarray(Image.open(path.with_suffix(".png"))).astype(float) / 255
        # .pts is 1-based: the centre of the first pixel is (1, 1); here it is (.5, .5).
        points = pts(path) - 0.5
        for mark, colour in PAINTED.items():
            x, y = points[mark]
            if 12 < x < 276 and 12 < y < 276:
                top, left = int(y) - 9, int(x) - 9
                patch = image[top : top + 18, left : left + 18]
                found = dot_centre(patch, colour)
                if found is not None:
                    errors.append(found + np.array([left, top]) - points[mark])
    assert len(errors) >= 15
    assert np.abs(np.median(errors, axis=0)).max() < 0.25
    assert np.median(np.linalg.norm(errors, axis=1)) < 0.6


def test_an_interrupted_run_goes_on_to_the_same_files(folder, sitter):
    whole = files(folder)
    (folder / "ibug/image_0001.pts").unlink()
    (folder / "ibug/image_0001.png").write_bytes(b"half")
    assert render(sitter, folder) == 1
    assert files(folder) == whole


def test_a_part_of_a_set_is_not_taken_for_a_small_one(sitter, tmp_path):
    """Killed at its fifth picture: nothing is built, until it has been gone on with."""
    drawn = []

    def casting(rng):
        drawn.append(None)
        if len(drawn) == 5:
            raise KeyboardInterrupt
        return sitter

    out = tmp_path / "300w"
    with pytest.raises(KeyboardInterrupt):
        write_landmarks(casting, OPTIONS, out, origin={})
    assert list(check(out).errors) == ["unfinished"]
    options = BuildOptions(workers=1)
    with pytest.raises(InputError, match="still to be rendered"):
        build((out,), tmp_path / "built", options)
    assert render(sitter, out) == 8
    assert check(out).usable()
    build((out,), tmp_path / "built", options)


def test_other_options_are_another_set(folder, sitter):
    whole = files(folder)
    (folder / "ibug/image_0001.pts").unlink()
    for other in (
        dataclasses.replace(OPTIONS, seed=7),
        dataclasses.replace(OPTIONS, width=64, height=64),
        dataclasses.replace(OPTIONS, count=20),
    ):
        with pytest.raises(InputError, match="begun with other options"):
            render(sitter, folder, other)
    with pytest.raises(InputError, match="begun with other options"):
        render(sitter, folder, vertices=500)
    assert not (folder / "ibug/image_0001.pts").exists()
    assert render(sitter, folder) == 1
    assert files(folder) == whole


def test_a_real_set_gets_no_synthetic_pictures(sitter, tmp_path, rng):
    real = write_layout(tmp_path / "300W", rng)
    before = files(real)
    with pytest.raises(InputError, match="already exists"):
        render(sitter, real)
    assert files(real) == before


def test_published_count_gives_the_published_folders():
    counts = folder_counts(3148 + 554 + 135 + 600)
    assert counts == {name: count for name, (_, count) in ibug.FOLDERS.items()}
    assert sum(folder_counts(100).values()) == 100


def test_too_few_for_the_layout():
    with pytest.raises(InputError, match="too few pictures"):
        folder_counts(7)
