# SPDX-License-Identifier: Apache-2.0
"""Converted networks equal PyTorch's, and their configuration is read off shapes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from i2z_jax import checkpoint
from i2z_jax.config import HourglassConfig, VGGConfig
from i2z_jax.convert.convert import FAMILIES, convert
from i2z_jax.convert.verify import verify
from tests.convert.conftest import SMALL

TOLERANCE = 1e-4

VGGS = [
    VGGConfig(depth=depth, batch_norm=bn, channels=(4, 6, 8, 10, 12))
    for depth, bn in itertools.product((16, 19), (False, True))
]
HOURGLASSES = [
    HourglassConfig(block, stacks=stacks, stem=stem, features=features, depth=depth)
    for block, stacks, stem, features, depth in (
        ("hierarchical", 1, (4, 8), 8, 2),
        ("hierarchical", 3, (8, 8), 16, 1),
        ("residual", 1, (4, 8), 8, 2),
        ("residual", 3, (8, 8), 16, 1),
    )
]
FAMILY = {"hierarchical": "fan", "residual": "princeton"}


def family_of(config) -> str:
    return "vgg" if isinstance(config, VGGConfig) else FAMILY[config.block]


@pytest.mark.parametrize("config", VGGS + HOURGLASSES, ids=str)
def test_sizes_are_read_off_the_tensors(published, config):
    done = convert(published(family_of(config), config))
    assert done.card.config == config
    assert done.card.architecture == FAMILIES[family_of(config)].architecture


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("family", SMALL)
def test_every_stage_equals_pytorch(published, family, seed):
    errors = verify(convert(published(family, seed=seed)), seed=seed)
    assert len(errors) >= 2
    assert max(e.relative for e in errors) <= TOLERANCE, errors


@pytest.mark.full
@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("vgg", VGGConfig(depth=19)),
        ("fan", HourglassConfig("hierarchical")),
        ("princeton", HourglassConfig("residual")),
    ],
    ids=["vgg19", "fan4", "princeton4"],
)
def test_full_size_equals_pytorch(published, family, config):
    errors = verify(convert(published(family, config)))
    assert max(e.relative for e in errors) <= TOLERANCE, errors


@pytest.mark.parametrize("family", SMALL)
def test_verify_notices_one_wrong_tensor(published, family):
    done = convert(published(family))
    name, array = next(
        (n, a)
        for n, a in checkpoint.named_arrays(done.module).items()
        if n.endswith("bn.mean")
    )
    wrong = {**checkpoint.named_arrays(done.module), name: array + 0.05}
    object.__setattr__(done, "module", checkpoint.fill(done.module, wrong))
    assert max(e.relative for e in verify(done)) > TOLERANCE


@pytest.mark.parametrize("family", SMALL)
def test_through_disk_bit_for_bit(published, tmp_path, family, rng):
    done = convert(published(family))
    checkpoint.save_model(tmp_path / "out", done.module, done.card)
    loaded = checkpoint.load(tmp_path / "out")
    graph, state = nnx.split(done.module)
    run = jax.jit(lambda state, x: jax.tree.leaves(nnx.merge(graph, state)(x)))
    image = jnp.asarray(rng.random((1, 64, 64, 3)), jnp.float32)
    for before, after in zip(
        run(state, image), run(nnx.state(loaded), image), strict=True
    ):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("prefix", ["module.", "model.module."])
@pytest.mark.parametrize("family", SMALL)
def test_wrapper_prefixes_change_nothing(published, family, prefix):
    plain = checkpoint.named_arrays(convert(published(family)).module)
    legacy = {"_use_new_zipfile_serialization": False}
    wrapped = convert(published(family, prefix=prefix, **legacy)).module
    for name, array in checkpoint.named_arrays(wrapped).items():
        np.testing.assert_array_equal(array, plain[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_becomes_float32(published, dtype):
    def turn(state):
        state.update({name: tensor.to(dtype) for name, tensor in state.items()})

    done = convert(published("vgg", change=turn))
    assert {a.dtype for a in checkpoint.named_arrays(done.module).values()} == {
        np.dtype(np.float32)
    }
    assert max(e.relative for e in verify(done)) <= TOLERANCE
