# SPDX-License-Identifier: Apache-2.0
"""Views drawn into a video: that picture and label belong to each other."""

import jax
import jax.numpy as jnp
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
    z = np.random.default_rng(3).normal(size=(5, adapt_world.Z)).astype(np.float32)

    def draw(count=COUNT, seed=0):
        return rehearse(
            system, given.video.frames, given.face, rows, z,
            nearness=0.0, count=count, seed=seed, mesh=mesh,
        )  # fmt: skip

    return system, given, z, draw, draw()


def test_each_has_its_own_labels(drawn):
    system, _, z, _, views = drawn
    assert len(views) == COUNT
    for view in views:
        assert view["image"].shape == (adapt_world.SIZE, adapt_world.SIZE, 3)
        assert view["image"].dtype == np.uint8
        assert any(np.array_equal(view["z"], each) for each in z)
        mesh = system.dam.decode_vertices(jnp.asarray(view["z"])[None])[0]
        np.testing.assert_allclose(view["vertices"], mesh, atol=1e-3)
    assert len({view["pose"].tobytes() for view in views}) == COUNT


def test_the_face_is_drawn_where_its_label_says_on_a_frame_of_the_video(drawn):
    _, given, _, _, views = drawn
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


def test_the_seed_decides(drawn):
    _, _, _, draw, views = drawn
    again, other = draw(4), draw(4, seed=1)
    fewer = draw(COUNT)
    np.testing.assert_array_equal(fewer[3]["image"], views[3]["image"])
    assert len(again) == 4
    assert not np.array_equal(again[0]["pose"], other[0]["pose"])
