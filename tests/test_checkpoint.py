# SPDX-License-Identifier: Apache-2.0
"""Model folders: same output after a round trip, on any devices, or one clear line."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import i2z_jax
from i2z_jax import config
from i2z_jax.checkpoint import (
    ModelCard,
    Origin,
    load,
    named_arrays,
    read_card,
    save_model,
)
from i2z_jax.errors import InputError
from tests.models.weights import random_module
from tests.processes import finish, start
from tests.xla import simulated

SMALL_VGG = config.VGGConfig(depth=16, batch_norm=True, channels=(4, 4, 16, 16, 16))
SMALL_HOURGLASS = config.HourglassConfig(stacks=2, stem=(4, 8), features=8, landmarks=5)


SMALL = config.I2ZConfig(
    image_size=64,
    vgg=SMALL_VGG,
    hourglass=SMALL_HOURGLASS,
    z_size=4,
    level_size=8,
    hidden=(8,),
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "i2z"
    module = random_module("i2znet", SMALL)
    extras = {"cameras": ["400013", "400015"]}
    source = Origin("net.pth", "00ff")
    card = ModelCard("i2znet", SMALL, "for tests", source=source, extras=extras)
    save_model(folder, module, card)
    return folder


def edit(folder: Path, target: Path, **changes) -> Path:
    """A copy of the card (not the weights) with fields changed; None removes one."""
    target.mkdir()
    content = json.loads((folder / "model.json").read_text())
    for dotted, value in changes.items():
        *outer, last = dotted.split("__")
        part = content
        for name in outer:
            part = part[name]
        part[last] = value
        if value is None:
            del part[last]
    (target / "model.json").write_text(json.dumps(content))
    return target


def test_what_was_saved_comes_back_bit_for_bit(saved):
    module, loaded = random_module("i2znet", SMALL), i2z_jax.load(saved)
    assert nnx.graphdef(loaded) == nnx.graphdef(module)
    theirs = named_arrays(loaded)
    for name, array in named_arrays(module).items():
        np.testing.assert_array_equal(theirs[name], array, err_msg=name)
    card = read_card(saved)
    assert card.config == SMALL
    assert card.source == Origin("net.pth", "00ff")
    assert card.extras == {"cameras": ["400013", "400015"]}
    assert card.tool_version == i2z_jax.__version__


def test_frozen_streams_stay_frozen(saved):
    loaded = load(saved)
    assert not nnx.to_flat_state(nnx.state(loaded.hourglass, nnx.Param))
    assert nnx.to_flat_state(nnx.state(loaded.encoders, nnx.Param))


def test_compute_type_is_chosen_at_loading(saved):
    net = load(saved, dtype=jnp.bfloat16)
    maps = jax.eval_shape(net.streams, jnp.zeros((1, 64, 64, 3)))
    assert maps.vgg[0].dtype == jnp.bfloat16
    assert net.vgg.blocks[0][0].conv.kernel.dtype == jnp.float32


SAVE_SHARDED = """
import sys, jax
from flax import nnx
from i2z_jax.checkpoint import ModelCard, save_model
from tests.models.weights import random_module
from tests.test_checkpoint import SMALL_VGG
mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))
graph, state = nnx.split(random_module("vgg", SMALL_VGG))
def place(x):
    last = "fsdp" if x.shape[-1] % 8 == 0 else None
    spec = jax.P(*[None] * (x.ndim - 1), last)
    return jax.device_put(x, jax.NamedSharding(mesh, spec))
state = jax.tree.map(place, state)
assert not state["blocks"][4][0]["conv"]["kernel"][...].is_fully_replicated
save_model(sys.argv[1], nnx.merge(graph, state), ModelCard("vgg", SMALL_VGG, "tests"))
"""


def test_saved_on_eight_devices_loads_on_one(tmp_path):
    folder = tmp_path / "vgg"
    finish(start("-c", SAVE_SHARDED, folder, environment=simulated(8)))
    loaded = named_arrays(load(folder))
    for name, array in named_arrays(random_module("vgg", SMALL_VGG)).items():
        assert len(loaded[name].devices()) == 1
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 2, "tool_version": "9.0"}, "newer i2z_jax .*got 9.0"),
        ({"format": "one"}, "no format number"),
        ({"architecture": "resnet"}, "unknown architecture .*vgg.*got resnet"),
        ({"colour": "red"}, "unknown field colour"),
        ({"licence": None}, "missing field licence"),
        ({"config__z_size": None}, "missing field config.z_size"),
        ({"config__vgg__width": 3}, "unknown field config.vgg.width"),
        ({"config__z_size": "128"}, "config.z_size .*expected int, got '128'"),
        ({"config__vgg__depth": 17}, "config.vgg.depth .*16 or 19.*got 17"),
        ({"config__vgg__channels": [4, 4]}, "config.vgg.channels .*tuple.*got"),
        ({"config__vgg__batch_norm": 1}, "batch_norm .*expected bool, got 1"),
        ({"config__hidden": [8, True]}, r"config.hidden\[1\] .*int, got True"),
        ({"config__vgg": [1]}, r"config.vgg is not an object .*\[1\]"),
        ({"source__file": 3}, "source.file .*expected str, got 3"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_card_that_cannot_be_read_names_the_field(saved, tmp_path, changes, says):
    with pytest.raises(InputError, match=says):
        read_card(edit(saved, tmp_path / "edited", **changes))


def test_weights_of_another_model_list_what_differs(saved, tmp_path):
    folder = edit(saved, tmp_path / "other", config__z_size=6, config__hidden=[8, 8])
    (folder / "weights").symlink_to(saved / "weights")
    with pytest.raises(InputError) as caught:
        load(folder)
    said = str(caught.value)
    assert "z_regressor.layers.1.kernel is (8, 4) where the model has (8, 8)" in said
    assert "no z_regressor.layers.2.kernel" in said


def test_not_a_model(tmp_path, saved):
    with pytest.raises(InputError, match="is not a folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no model.json"):
        load(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(InputError, match="not readable as JSON"):
        load(tmp_path)
    (tmp_path / "model.json").unlink()
    weightless = edit(saved, tmp_path / "weightless")
    with pytest.raises(InputError, match=r"a folder of models; give .*weightless$"):
        load(tmp_path)
    with pytest.raises(InputError, match="weights cannot be read"):
        load(weightless)


# Orbax leaves the failed reads of its other arrays behind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_weights(saved, tmp_path):
    folder = tmp_path / "damaged"
    sizes = config.HourglassConfig(stacks=1, stem=(4, 8), features=8, landmarks=5)
    module = random_module("hourglass", sizes)
    save_model(folder, module, ModelCard("hourglass", sizes, "for tests"))
    for file in folder.rglob("d/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match="weights cannot be read"):
        load(folder)


def test_existing_folder_is_kept_unless_told(saved):
    module = random_module("i2znet", SMALL)
    before = (saved / "model.json").read_bytes()
    with pytest.raises(InputError, match="already exists"):
        save_model(saved, module, ModelCard("i2znet", SMALL, "other"))
    assert (saved / "model.json").read_bytes() == before
