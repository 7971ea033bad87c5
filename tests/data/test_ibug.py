# SPDX-License-Identifier: Apache-2.0
"""`.pts` files: written and read back, and what is refused."""

import numpy as np
import pytest

from i2z_jax.data import ibug
from i2z_jax.errors import InputError


def test_round_trip_and_convention(tmp_path, rng):
    points = rng.uniform(0, 400, (68, 2))
    ibug.write_pts(tmp_path / "a.pts", points)
    np.testing.assert_allclose(ibug.read_pts(tmp_path / "a.pts"), points, atol=1e-6)
    # 1-based: the centre of the top left pixel, (0.5, 0.5) here, is 1 1 in the file.
    ibug.write_pts(tmp_path / "b.pts", np.full((68, 2), 0.5))
    assert "\n1.000000 1.000000\n" in (tmp_path / "b.pts").read_text()


def test_spacing_of_the_header_does_not_matter(tmp_path):
    body = "\n".join(f" {i}.5\t{i} " for i in range(68))
    path = tmp_path / "a.pts"
    path.write_text(f"version:1\r\nn_points:68\r\n{{\r\n{body}\r\n}}\r\n")
    np.testing.assert_allclose(ibug.read_pts(path)[:, 0], np.arange(68))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a .pts"),
        ("{" + "1 2\n" * 67 + "}", "expected 68, got 67"),
        ("{" + "1 2 3\n" * 68 + "}", "two numbers"),
        ("{" + "one two\n" * 68 + "}", "not a number"),
        ("{" + "nan 2\n" * 68 + "}", "not finite"),
        ("{" + "1 2\n" * 68, "not a .pts"),
        ("{" + "1 2\n" * 68 + "}", "on one line"),
    ],
    ids=["empty", "67", "three", "words", "nan", "open", "no extent"],
)
def test_what_is_refused(tmp_path, text, reason):
    (tmp_path / "a.pts").write_text(text)
    with pytest.raises(InputError, match=reason):
        ibug.read_pts(tmp_path / "a.pts")
    with pytest.raises(InputError, match="cannot read"):
        ibug.read_pts(tmp_path / "b.pts")


def test_a_damaged_box_table_is_named(tmp_path):
    (tmp_path / "Bounding_Boxes").mkdir()
    path = tmp_path / "Bounding_Boxes" / "bounding_boxes_afw.mat"
    path.write_bytes(b"MATLAB 5.0, they said")
    with pytest.raises(InputError, match="not a table of boxes"):
        ibug.detector_boxes(tmp_path, "afw")
    assert ibug.detector_boxes(tmp_path, "ibug") == {}
