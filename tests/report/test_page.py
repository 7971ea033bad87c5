# SPDX-License-Identifier: Apache-2.0
"""The page: escaped, self-contained, and open in a browser without a complaint."""

import re

import numpy as np
import pytest

from i2z_jax.data.images import encode
from i2z_jax.report.gltf import write_glb
from i2z_jax.report.morphs import Morphs
from i2z_jax.report.page import (
    Code,
    Gallery,
    Head,
    Picture,
    Plot,
    Section,
    Table,
    Text,
    Tiles,
    page,
)
from i2z_jax.report.plots import bars, curves
from tests.track.tracks import STILL, track
from tests.track.worlds import average, topology


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> str:
    """A page with every kind of block."""
    rng = np.random.default_rng(0)
    base = average().astype(np.float32)
    targets = rng.normal(0, 3, (2, *base.shape)).astype(np.float32)
    weights = np.sin(np.arange(90)[:, None] / [9, 5]).astype(np.float32)
    path = tmp_path_factory.mktemp("page") / "mesh.glb"
    texture = rng.integers(90, 255, (32, 32, 3)).astype(np.uint8)
    shape = Morphs(base, targets, weights, 0.01, np.full(len(weights), 0.001))
    write_glb(path, track(STILL), shape, topology(), texture)
    picture = Picture(encode(texture, "png"), "a <picture>")
    line = curves(np.arange(9.0), {"a": np.arange(9.0)}, x_label="s", y_label="mm")
    blocks = [
        Text("1 < 2 & <script>alert(1)</script>"),
        Code("i2z track face.mp4"),
        Tiles([("3 mm", "error")]),
        picture,
        Gallery([picture, picture]),
        Table(("stage", "s"), [("decode", "1.0"), ("net", "2.5")], "Seconds."),
        Plot(line, "A line."),
        Plot(bars({"net": 2.0}, unit="s")),
        Head(path.read_bytes(), "Drag."),
    ]
    return page("A <title>", "What it is.", [Section("All & all", blocks)])


def test_text_cannot_become_markup(html):
    assert "<script>alert" not in html
    assert "A &lt;title&gt;" in html
    assert "a &lt;picture&gt;" in html
    assert "All &amp; all" in html


def test_nothing_is_fetched(html):
    for address in re.findall(r"""(?:src|href)=["']([^"']*)""", html):
        assert address.startswith("data:")
    assert "http" not in re.sub(r"http-equiv|base64,[^\"]*", "", html)
    assert "default-src 'none'" in html


def test_the_page_opens_and_the_head_is_drawn(visit, html):
    seen = visit(html)
    assert not seen.complaints
    # A mask of 160 x 200 mm, turned a little, in a canvas of 820 x 460.
    assert 0.08 < seen.drawn < 0.5


def test_a_complaint_of_the_browser_would_be_seen(visit, html):
    """The test above can fail: a fetch is refused, and said so."""
    fetching = '<img src="https://x.test/a.png"></body>'
    assert visit(html.replace("</body>", fetching)).complaints
