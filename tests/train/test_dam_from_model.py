# SPDX-License-Identifier: Apache-2.0
"""`i2z train dam --start`: a model of the same capture goes on, another is refused."""

from dataclasses import replace

import numpy as np
import pytest

from i2z_jax import checkpoint
from i2z_jax.checkpoint import ModelCard
from i2z_jax.config import DAMConfig, VGGConfig
from i2z_jax.data.capture_source import only_source
from i2z_jax.errors import InputError
from i2z_jax.models.dam import DAM
from i2z_jax.models.parameters import Keys
from i2z_jax.models.vgg import VGG
from tests import toy


@pytest.fixture(scope="module")
def source(toy_data):
    return only_source(toy_data)


@pytest.fixture
def model(source, tmp_path):
    """A model folder, of the toy capture but for the sizes that are given.

    With names of its cameras, as `i2z convert dam` writes them if there is a KRT.
    """

    def save(names=None, **given):
        capture = {
            "vertices": source.topology.vertex_count,
            "texture_size": source.texture_size,
            "cameras": len(source.cameras),
        }
        sizes = DAMConfig(**({"z_size": 8} | capture | given))
        dam = DAM(sizes, rngs=Keys(3))
        dam.statistics.set(vert_mean=np.ones((sizes.vertices, 3)))
        dam.colour.scale[...] = dam.colour.scale[...] + 0.25
        extras = {} if names is None else {"cameras": list(names)}
        card = ModelCard("dam", sizes, "for tests", extras=extras)
        checkpoint.save_model(tmp_path / "start", dam, card)
        return tmp_path / "start"

    return save


def refused(data, workdir, start) -> str:
    with pytest.raises(InputError) as error:
        toy.dam(data, workdir, start=start)
    assert not (workdir / "dam").exists()
    return str(error.value)


def test_textures_of_another_size(toy_data, model, tmp_path):
    said = refused(toy_data, tmp_path / "run", model(texture_size=64))
    assert "textures of another size" in said
    assert f"expected 64, got {toy.TEXTURE}" in said
    assert "--texture-size 64" in said


def test_cameras_of_another_krt(toy_data, source, model, tmp_path):
    first, second = source.camera_names
    said = refused(toy_data, tmp_path / "run", model(names=[second, first]))
    assert "other cameras" in said
    assert f"expected camera 0 to be {second}, got {first}" in said


def test_another_number_of_cameras_without_names(toy_data, model, tmp_path):
    said = refused(toy_data, tmp_path / "run", model(cameras=5))
    assert "expected 2 cameras, as the capture has, got 5" in said
    assert "KRT" in said


def test_another_network(toy_data, tmp_path):
    sizes = VGGConfig(depth=16, channels=(4, 4, 8, 8, 8))
    vgg = VGG(sizes, rngs=Keys(0))
    checkpoint.save_model(tmp_path / "vgg", vgg, ModelCard("vgg", sizes, "for tests"))
    assert "not a dam model" in refused(toy_data, tmp_path / "run", tmp_path / "vgg")


@pytest.mark.parametrize("rows", [2, 1], ids=["every camera", "the first of them"])
def test_a_model_of_the_capture_goes_on(
    toy_data, source, model, tmp_path, capsys, rows
):
    # Converted without a KRT it has no names; with one, perhaps fewer rows than that.
    names = None if rows == 2 else source.camera_names[:rows]
    start = model(names=names, cameras=rows)
    one = replace(toy.RUN, loop=replace(toy.RUN.loop, steps=1))
    folder = toy.dam(toy_data, tmp_path / "run", start=start, run=one)
    card = checkpoint.read_card(folder)
    assert card.config == checkpoint.read_card(start).config
    assert card.extras["cameras"] == source.camera_names[:rows]
    arrays = checkpoint.named_arrays(checkpoint.load(folder))
    # One step from the start's numbers, not from a fresh model's or the capture's.
    np.testing.assert_array_equal(arrays["statistics.vert_mean"], 1)
    np.testing.assert_allclose(arrays["colour.scale"], 1.25, atol=0.01)
    assert ("the first 1 of 2 cameras" in capsys.readouterr().err) == (rows == 1)
