# SPDX-License-Identifier: Apache-2.0
"""Views drawn into a video: that picture and label belong to each other."""

import jax
import numpy as np
import pytest

from i2z_jax.geometry.camera import project_weak
from i2z_jax.sharding import create_mesh
from i2z_jax.train.rehearsal import rehearse
from tests.train import adapt_world

COUNT = 11


@pytest.fixture(scope="module")
def drawn():
    mesh = create_mesh(devices=jax.devices()[:1])
    system = adapt_world.system()
    given = adapt_world.material(system, mesh)
    rows = np.union1d(given.video.learn, given.video.learn + 1)
    moments = adapt_world.moments(5)

    def draw(count=COUNT, seed=0, moments=moments):
        return rehearse(
            system, given.video.frames, given.face, rows, moments,
            nearness=0.0, count=count, seed=seed, mesh=mesh,
        )  # fmt: skip

    return given, moments, draw, draw()


def test_each_has_the_labels_of_a_moment(drawn):
    _, moments, _, views = drawn
    assert len(views) == COUNT
    for view in views:
        assert view["image"].shape == (adapt_world.SIZE, adapt_world.SIZE, 3)
        assert view["image"].dtype == np.uint8
        [moment] = [m for m in moments if np.array_equal(m["z"], view["z"])]
        np.testing.assert_array_equal(view["vertices"], moment["vertices"])
    assert len({view["pose"].tobytes() for view in views}) == COUNT


def test_the_face_is_drawn_where_its_label_says_on_a_frame_of_the_video(drawn):
    given, _, _, views = drawn
    frames = np.asarray(given.video.frames.image).astype(int)
    for view in views:
        points = project_weak(view["pose"], view["vertices"])[:, :2]
        pixels = (points + 1) * adapt_world.SIZE / 2
        low, high = pixels.min(0), pixels.max(0)
        y, x = np.mgrid[: adapt_world.SIZE, : adapt_world.SIZE] + 0.5
        outside = (x < low[0] - 1) | (x > high[0] + 1)
        outside |= (y < low[1] - 1) | (y > high[1] + 1)
        # Off the mesh's box it is one of the frames, to a rounding.
        left = np.abs(frames - view["image"].astype(int)).max(-1)[:, outside].max(-1)
        assert left.min() <= 1
        # And on the face it is none of them.
        best = left.argmin()
        change = np.abs(frames[best] - view["image"].astype(int)).max(-1)
        assert change[~outside].max() > 10


def test_the_face_has_the_moments_texture(drawn):
    _, moments, draw, views = drawn
    dark = [m | {"average_texture": m["average_texture"] // 4} for m in moments]
    for light, other in zip(views, draw(moments=dark), strict=True):
        np.testing.assert_array_equal(light["pose"], other["pose"])
        drawn_on = (light["image"] != other["image"]).any(-1)
        assert drawn_on.any()
        assert not drawn_on.all()
        assert light["image"][drawn_on].mean() > other["image"][drawn_on].mean() + 10


def test_the_seed_decides(drawn):
    _, _, draw, views = drawn
    again, other = draw(4), draw(4, seed=1)
    fewer = draw(COUNT)
    np.testing.assert_array_equal(fewer[3]["image"], views[3]["image"])
    assert len(again) == 4
    assert not np.array_equal(again[0]["pose"], other[0]["pose"])
