# SPDX-License-Identifier: Apache-2.0
"""Figures of held-out examples: the mean over them, however many fill a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from i2z_jax.data.batches import Stream
from i2z_jax.sharding import create_mesh
from i2z_jax.train.held_out import HeldOut
from i2z_jax.train.stages import Stage
from i2z_jax.train.state import TrainState

BATCH = 16


class Squares:
    """Example i is i squared; who loads it leaves a trace."""

    def __init__(self, count, folder):
        self.count, self.folder = count, folder

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        (self.folder / str(index)).touch()
        return {"x": np.float32(index**2)}


def measure(params, stats, frozen, batch, key):
    assert batch["x"].shape == (BATCH,)
    return jnp.mean(batch["x"]), ({"root": jnp.mean(jnp.sqrt(batch["x"]))}, stats)


def figures(count, folder, **given):
    mesh = create_mesh(devices=jax.devices()[:1])
    stage = Stage(
        params={},
        stats={},
        frozen={},
        lasting={},
        objective=measure,
        measure=measure,
        assemble=lambda p, s: p,
    )
    state = TrainState.create({"w": jnp.zeros(1)}, {}, optax.sgd(1.0))
    held_out = HeldOut(stage, {}, Stream(Squares(count, folder), BATCH), mesh, **given)
    for file in folder.iterdir():  # of the picture
        file.unlink()
    return held_out.figures(state, 0)


@pytest.mark.parametrize("count", [1, 5, 16, 17, 31, 45])
def test_every_example_weighs_the_same(tmp_path, count):
    found = figures(count, tmp_path)
    index = np.arange(count)
    assert found["loss"] == pytest.approx(np.mean(index**2), rel=1e-5)
    assert found["root"] == pytest.approx(np.mean(index), rel=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_more_examples_than_asked_for_spread_over_all(tmp_path, workers):
    found = figures(1000, tmp_path, most=37, workers=workers)
    loaded = sorted(int(file.name) for file in tmp_path.iterdir())
    assert len(loaded) == 37
    assert (loaded[0], loaded[-1]) == (0, 999)
    assert max(np.diff(loaded)) == 28
    assert found["root"] == pytest.approx(np.mean(loaded), rel=1e-5)
