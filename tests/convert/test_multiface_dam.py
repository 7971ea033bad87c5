# SPDX-License-Identifier: Apache-2.0
"""What a Multiface checkpoint and its folder of statistics become, or why not."""

import re

import numpy as np
import pytest
import torch

from i2z_jax.checkpoint import build, named_arrays
from i2z_jax.config import DAMConfig
from i2z_jax.convert import multiface_dam
from i2z_jax.convert.load import load_state_dict
from i2z_jax.convert.mapping import fit
from i2z_jax.convert.torch_reference.dam import TorchDAM
from i2z_jax.data.krt import CalibratedCamera, write_krt
from i2z_jax.data.multiface import Layout, Statistics, write_statistics
from i2z_jax.errors import InputError
from i2z_jax.models.dam import texture_plan
from tests.convert.dam_checkpoint import (
    VARIANTS,
    converted,
    random_statistics,
    random_tensors,
    tiny,
)


def fit_dam(tensors, config):
    module = build("dam", config)
    shapes = {name: tuple(leaf.shape) for name, leaf in named_arrays(module).items()}
    ignored = multiface_dam.PUBLISHED.ignored
    return fit(tensors, multiface_dam.entries(config), shapes, ignored)


@pytest.fixture
def statistics(rng) -> Statistics:
    mean = rng.integers(0, 256, (128, 128, 3)).astype(np.float32)
    return Statistics(mean, 412.5, rng.normal(size=(35, 3)).astype(np.float32), 31.25)


@pytest.fixture
def capture(tmp_path, statistics):
    write_statistics(Layout(tmp_path), statistics)
    return tmp_path


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("texture_size", [1024, 512, 64, 32])
def test_configuration_is_inferred_from_shapes(variant, texture_size):
    config = DAMConfig(variant, z_size=19, texture_size=texture_size, cameras=38)
    with torch.device("meta"):
        network = TorchDAM(config, *texture_plan(texture_size))
    tensors = {
        name: np.broadcast_to(np.float32(name == "cc.weight_anchor"), value.shape)
        for name, value in network.state_dict().items()
    }
    assert multiface_dam.infer_config(tensors) == config
    fitted = fit_dam(tensors | random_statistics(config, 0), config)
    assert not fitted.mismatches
    assert sum(fitted.left_out.values()) == 2, "the two anchors"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_reads_a_saved_checkpoint(prefix, tmp_path):
    """`best_model.pth`, with the prefix of DistributedDataParallel or without."""
    tensors = random_tensors(tiny(), 5)
    saved = {f"{prefix}{n}": torch.from_numpy(v) for n, v in tensors.items()}
    torch.save(saved, tmp_path / "best_model.pth")
    loaded = load_state_dict(tmp_path / "best_model.pth")
    assert set(multiface_dam.PUBLISHED.signature) <= set(loaded)
    assert multiface_dam.infer_config(loaded) == tiny()
    for name, value in tensors.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_every_mismatch_is_reported_with_both_names():
    config = tiny()
    tensors = random_tensors(config, 0) | random_statistics(config, 0)
    del tensors["dec.view_fc.g"]
    tensors["enc.fc.bias"] = np.zeros(7, np.float32)
    tensors["dec.extra.weight"] = np.zeros(3, np.float32)
    found = {(m.kind, m.torch, m.flax) for m in fit_dam(tensors, config).mismatches}
    assert found == {
        ("missing", "dec.view_fc.g", "decoder.view.g"),
        ("wrong shape", "enc.fc.bias", "encoder.latent.bias"),
        ("unexpected", "dec.extra.weight", ""),
    }


def test_a_moved_anchor_is_refused():
    tensors = random_tensors(tiny(), 0)
    tensors["cc.weight_anchor"] = np.full((1, 3, 1, 1), 1.1, np.float32)
    with pytest.raises(ValueError, match=r"cc\.weight_anchor is not 1"):
        multiface_dam.infer_config(tensors)


def test_statistics_become_mm_and_unit_colours(capture, statistics):
    """Files are upside down and in 0..255; the model's texture is half their size."""
    config = tiny()
    companions = multiface_dam.read_companions(capture, config)
    model = converted(config, random_tensors(config, 0) | companions)
    stored = model.statistics
    np.testing.assert_array_equal(stored.vert_mean[...], statistics.vertex_mean)
    assert stored.vert_var[...] == 31.25
    np.testing.assert_allclose(stored.tex_var[...], 412.5 / 255**2, rtol=1e-6)
    mean = stored.tex_mean[...]
    corner = statistics.texture_mean[:2, 2:4].mean((0, 1)) / 255
    np.testing.assert_allclose(mean[0, 1], corner, rtol=1e-6)


def test_missing_statistics_are_all_named(capture):
    (capture / "tex_var.txt").unlink()
    (capture / "vert_mean.bin").unlink()
    message = f"{re.escape(str(capture))}: no tex_var.txt, vert_mean.bin; give"
    with pytest.raises(InputError, match=message):
        multiface_dam.read_companions(capture, tiny())


def test_statistics_of_another_topology(capture):
    message = r"vert_mean\.bin: .* \(expected 36 vertices, got 35\)"
    with pytest.raises(InputError, match=message):
        multiface_dam.read_companions(capture, tiny(vertices=36))


def test_statistics_of_another_texture(capture):
    message = r"tex_mean\.png: .* \(expected a multiple of 256 texels, got 128\)"
    with pytest.raises(InputError, match=message):
        multiface_dam.read_companions(capture, tiny(texture_size=256))


def test_camera_names_are_in_krt_order(tmp_path):
    camera = CalibratedCamera(np.eye(3), np.zeros(5), np.eye(3, 4))
    names = ["400030", "400002", "400017", "400009"]
    write_krt(tmp_path / "KRT", dict.fromkeys(names, camera))
    assert multiface_dam.camera_names(tmp_path, tiny()) == {"cameras": names}
    assert multiface_dam.camera_names(None, tiny()) == {}
