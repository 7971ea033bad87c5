# SPDX-License-Identifier: Apache-2.0
"""Placement on devices and hosts. Each case is a process: jax starts once in it."""

import jax
import numpy as np
import pytest

from i2z_jax.data.batches import endless
from i2z_jax.errors import InputError
from i2z_jax.sharding import create_mesh, local_rows, to_global
from tests.data.numbers import SEED, stream
from tests.processes import finish, finish_all, start, start_cluster
from tests.xla import simulated


def test_one_device_holds_everything():
    mesh = create_mesh(devices=jax.devices()[:1])
    np.testing.assert_array_equal(local_rows(mesh, 6), np.arange(6))
    batch = {"lab": {"x": np.arange(12).reshape(6, 2)}}
    np.testing.assert_array_equal(to_global(batch, mesh)["lab"]["x"], batch["lab"]["x"])


@pytest.mark.parametrize("fsdp", [0, 2])
def test_a_mesh_that_does_not_fit(fsdp):
    with pytest.raises(InputError, match=f"a divisor of 1 device, got {fsdp}"):
        create_mesh(fsdp=fsdp, devices=jax.devices()[:1])


FOUR_DEVICES = """
import jax, jax.numpy as jnp, numpy as np, pytest
from i2z_jax.errors import InputError
from i2z_jax.sharding import create_mesh, local_rows, parameter_shardings, to_global

mesh = create_mesh(fsdp=2)
assert dict(mesh.shape) == {"data": 2, "fsdp": 2}
with pytest.raises(InputError, match="expected a multiple of 4, got 6"):
    local_rows(mesh, 6)
np.testing.assert_array_equal(local_rows(mesh, 8), np.arange(8))

batch = to_global(np.arange(8.0), mesh)
assert [s.data.shape for s in batch.addressable_shards] == [(2,)] * 4
mean = jax.jit(jnp.mean)(batch)
assert float(mean) == 3.5

shapes = {
    "dense": (2048, 1024), "moment": (1023, 2048), "odd": (1025, 1023),
    "small": (512, 128), "conv": (3, 3, 512, 512), "step": (),
}
tree = {k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in shapes.items()}
specs = {k: tuple(s.spec) for k, s in parameter_shardings(tree, mesh).items()}
assert specs == {
    "dense": ("fsdp",), "moment": (None, "fsdp"), "odd": (),
    "small": (), "conv": (), "step": (),
}
alone = parameter_shardings(tree, create_mesh(fsdp=1))
assert all(s.is_fully_replicated for s in alone.values())

# A divided kernel computes what a whole one does.
x = np.random.default_rng(0).normal(size=(8, 2048)).astype(np.float32)
w = np.random.default_rng(1).normal(size=(2048, 1024)).astype(np.float32)
divided = jax.device_put(w, parameter_shardings({"w": w}, mesh)["w"])
assert divided.addressable_shards[0].data.shape == (1024, 1024)
y = jax.jit(jnp.matmul)(to_global(x, mesh), divided)
np.testing.assert_allclose(y, x @ w, rtol=1e-4, atol=1e-3)
"""


def test_four_devices():
    finish(start("-c", FOUR_DEVICES, environment=simulated(4)))


TWO_HOSTS = """
import sys
from functools import partial
import jax, numpy as np
from i2z_jax import cluster
cluster.join()
host, folder = jax.process_index(), sys.argv[1]
from i2z_jax.data.batches import endless
from i2z_jax.sharding import create_mesh, local_rows, to_global
from tests.data.numbers import SEED, stream

mesh = create_mesh(fsdp=2)
assert mesh.size == 4 and jax.process_count() == 2
rows = partial(local_rows, mesh)
assert len(rows(8)) == 4
batches = endless(stream(batch_size=8), seed=SEED, rows=rows)
for step in (0, 1, 2, 3, 2):
    batches.set_state({**batches.get_state(), "position": step})
    batch = to_global(next(batches), mesh)
    assert batch["draw"].shape == (8,)
    # Every host sees the whole sum: the shards are one array.
    total = float(jax.jit(lambda b: b["draw"].sum())(batch))
    shards = {s.index[0].start: np.asarray(s.data)
              for s in batch["draw"].addressable_shards}
    np.savez(f"{folder}/{host}_{step}.npz", total=total,
             starts=list(shards), draws=list(shards.values()))
"""


def test_two_hosts_see_the_batches_of_one(tmp_path):
    finish_all(start_cluster("-c", TWO_HOSTS, tmp_path, devices=2))
    single = endless(stream(batch_size=8), seed=SEED)
    for step in range(4):
        expected = next(single)["draw"]
        joined = np.full(8, np.nan)
        for host in range(2):
            saved = np.load(tmp_path / f"{host}_{step}.npz")
            np.testing.assert_allclose(saved["total"], expected.sum(), rtol=1e-6)
            for first, draws in zip(saved["starts"], saved["draws"], strict=True):
                joined[first : first + 2] = draws
        np.testing.assert_array_equal(joined, expected.astype(np.float32))
