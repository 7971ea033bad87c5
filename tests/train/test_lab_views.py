# SPDX-License-Identifier: Apache-2.0
"""Views that are kept on the devices say what their images say."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from i2z_jax.config import DAMConfig
from i2z_jax.data.augment import augment_regression
from i2z_jax.errors import InputError
from i2z_jax.models.dam import DAM
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.parameters import Keys
from i2z_jax.objectives.regress import RegressWeights
from i2z_jax.sharding import create_mesh
from i2z_jax.train import lab_views
from i2z_jax.train.lab_views import draw_views, keep_views, label_views
from i2z_jax.train.stages import regress_stage
from tests.train.tiny_stages import FACE, NET

SIZE = NET.image_size


class Pictures:
    """Views of noise with labels."""

    def __init__(self, count):
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
        self.pose = np.float32(rng.normal(size=(count, 6)) * 0.1)
        self.vertices = np.float32(rng.normal(size=(count, FACE.vertices, 3)))
        self.z = np.float32(rng.normal(size=(count, FACE.z_size)))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {
            "image": self.images[index],
            "pose": self.pose[index],
            "vertices": self.vertices[index],
            "z": self.z[index],
        }


@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_loss_and_gradient_are_those_of_the_images(dtype, close):
    mesh = create_mesh(devices=jax.devices()[:1])
    net, dam = I2ZNet(NET, rngs=Keys(0)), DAM(DAMConfig(**vars(FACE)), rngs=Keys(1))
    # 5 views and 2 a batch: the last batch is not full.
    examples = draw_views(Pictures(5), 5, size=SIZE, seed=0)
    views, _ = label_views(net, examples, dtype=jnp.dtype(dtype), mesh=mesh)
    stage = regress_stage(
        net,
        dam,
        weights=RegressWeights(),
        texel_weight=jnp.ones((FACE.texture_size,) * 2),
        image_size=SIZE,
        views=views,
    )
    row = jnp.array([4, 1])
    images = {
        name: jnp.stack([examples[int(r)][name] for r in row]) for name in examples[0]
    }

    def gradient(objective, batch):
        key = jax.random.key(0)
        return jax.jit(
            jax.value_and_grad(
                lambda p: objective(p, stage.stats, stage.frozen, batch, key)[0]
            )
        )(stage.params)

    ours, ours_grad = gradient(stage.objective, {"row": row})
    theirs, theirs_grad = gradient(stage.measure, images)
    np.testing.assert_allclose(ours, theirs, rtol=close)
    for a, b in zip(*map(jax.tree.leaves, (ours_grad, theirs_grad)), strict=True):
        # As vectors: a single entry of a small gradient says nothing in bfloat16.
        assert np.linalg.norm(a - b) <= close * max(np.linalg.norm(b), 1e-3)


def test_every_view_once_before_any_comes_twice(monkeypatch):
    def number(example, rng, *, size):
        return {**example, "draw": rng.random()}

    monkeypatch.setattr(lab_views, "augment_regression", number)
    pictures = Pictures(4)
    pictures.images[:, 0, 0, 0] = np.arange(4)

    def drawn(count, seed):
        examples = draw_views(pictures, count, size=SIZE, seed=seed)
        return [(int(e["image"][0, 0, 0]), e["draw"]) for e in examples]

    ten = drawn(10, 0)
    assert sorted(Counter(view for view, _ in ten).values()) == [2, 2, 3, 3]
    assert len({draw for _, draw in ten}) == 10
    assert drawn(10, 0) == ten
    assert drawn(10, 1) != ten


def test_labels_move_with_the_crop():
    """The same function of view and generator as training without a cache."""
    pictures = Pictures(3)
    for example in draw_views(pictures, 3, size=SIZE, seed=5):
        row = int(np.flatnonzero((pictures.z == example["z"]).all(1))[0])
        same = [
            augment_regression(pictures[row], np.random.default_rng([5, k]), size=SIZE)[
                "pose"
            ]
            for k in range(3)
        ]
        assert any(np.array_equal(pose, example["pose"]) for pose in same)


def test_a_cache_larger_than_a_device_names_the_remedy(monkeypatch):
    def too_large(*arguments, **keywords):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(lab_views, "build_cache", too_large)
    net = nnx.eval_shape(lambda: I2ZNet(NET, rngs=Keys(0)))
    mesh, dtype = create_mesh(devices=jax.devices()[:1]), jnp.float32
    with pytest.raises(InputError, match=r"out of memory.*--cache"):
        keep_views(net, Pictures(2), 2, size=SIZE, seed=0, dtype=dtype, mesh=mesh)
