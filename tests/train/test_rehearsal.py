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
    given = adapt_world.adaptation_data(system, mesh)
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


def test_the_face_has_the_moments_texture_where_its_uvs_say(drawn):
    """A texture that is darker in one quarter darkens that quarter of the sheet."""
    _, moments, draw, views = drawn
    half = adapt_world.TEXTURE // 2
    dark = []
    for moment in moments:
        texture = moment["average_texture"].copy()
        texture[:half, :half] //= 4
        dark.append(moment | {"average_texture": texture})
    u, v = adapt_world.sheet()[1].uvs.T
    # Of six rows of vertices the fourth is the first beyond the middle.
    quarter = (u <= 0.5) & (v < 0.6)
    texel = adapt_world.SIZE / adapt_world.TEXTURE
    for light, other in zip(views, draw(moments=dark), strict=True):
        np.testing.assert_array_equal(light["pose"], other["pose"])
        changed = (light["image"] != other["image"]).any(-1)
        assert light["image"][changed].mean() > other["image"][changed].mean() + 10
        points = project_weak(light["pose"], light["vertices"][quarter])[:, :2]
        pixels = (points + 1) * adapt_world.SIZE / 2
        low, high = pixels.min(0) - texel, pixels.max(0) + texel
        seen = np.argwhere(changed)[:, ::-1] + 0.5
        assert ((seen > low) & (seen < high)).all()
        assert len(seen) > 0.3 * np.prod(high - low)


def test_the_seed_decides(drawn):
    _, _, draw, views = drawn
    again, other = draw(4), draw(4, seed=1)
    fewer = draw(COUNT)
    np.testing.assert_array_equal(fewer[3]["image"], views[3]["image"])
    assert len(again) == 4
    assert not np.array_equal(again[0]["pose"], other[0]["pose"])
