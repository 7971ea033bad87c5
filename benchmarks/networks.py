# SPDX-License-Identifier: Apache-2.0
"""Networks and batches to measure with: random weights, the same on both sides.

The weights are a PyTorch state dict each, brought into our modules by the tables that
convert published checkpoints. They are scaled so that activations neither vanish nor
grow: numbers that become infinite or subnormal would bend the time.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from i2z_jax.checkpoint import ModelCard, build, fill, named_arrays
from i2z_jax.convert import fan, multiface_dam, torchvision_vgg
from i2z_jax.convert.mapping import Published, Tensors, fit
from i2z_jax.models.dam import DAM
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.parameters import freeze
from i2z_jax.presets import Preset
from i2z_jax.synth.head import ProceduralHead
from i2z_jax.system import System


class Networks(NamedTuple):
    """I2ZNet and the decoder, and the tensors of the three published parts."""

    net: I2ZNet
    dam: DAM
    tensors: dict[str, Tensors]


def random_networks(sizes: Preset, dtype: DTypeLike = jnp.float32) -> Networks:
    """All networks of a preset."""
    # PyTorch knows the names; it is needed for the peer anyway.
    from i2z_jax.convert.torch_reference.dam import TorchDAM
    from i2z_jax.convert.torch_reference.hourglass import TorchFAN
    from i2z_jax.convert.torch_reference.vgg import TorchVGG
    from i2z_jax.models.dam import texture_plan

    rng = np.random.default_rng(0)
    i2z = sizes.i2z
    dam = TorchDAM(sizes.dam, *texture_plan(sizes.dam.texture_size))
    tensors = {
        # Chains of ReLU layers keep their level at 2; sums of blocks need less.
        "vgg": _random(TorchVGG(i2z.vgg), rng, gain=2.0),
        "hourglass": _random(TorchFAN(i2z.hourglass), rng, gain=0.3),
        "dam": _random(dam, rng, gain=2.0) | _statistics(sizes.dam, rng),
    }
    net: Any = build("i2znet", i2z, dtype=dtype)
    net = fill(
        net,
        {
            name: jnp.asarray(_random_array(rng, name, leaf.shape))
            for name, leaf in named_arrays(net).items()
        },
    )
    net.pose_mean[...] = jnp.array([0.007, 0, 0, 0, 0, 0])
    net.pose_std[...] = jnp.array([0.0005, 0.3, 0.3, 0.2, 0.05, 0.05])
    vgg = _converted(torchvision_vgg.PUBLISHED, i2z.vgg, tensors["vgg"], dtype)
    hourglass = _converted(fan.PUBLISHED, i2z.hourglass, tensors["hourglass"], dtype)
    net.vgg, net.hourglass = freeze(vgg), freeze(hourglass)
    decoder = _converted(multiface_dam.PUBLISHED, sizes.dam, tensors["dam"], dtype)
    return Networks(net, decoder, tensors)


def random_system(sizes: Preset, dtype: DTypeLike = jnp.float32) -> System:
    """A tracker of the synthetic head, whose pose and mesh are about a face's.

    What is rasterised must look like a face, or it takes another time.
    """
    head = ProceduralHead()
    sizes = replace(sizes, dam=replace(sizes.dam, vertices=head.topology.vertex_count))
    net, dam, _ = random_networks(sizes, dtype)
    dam.statistics.set(vert_mean=head.neutral, vert_var=0.1)
    for regressor in (net.z_regressor, net.pose_regressor):
        kernel = regressor.layers[-1].kernel
        kernel[...] = 0.1 * kernel[...]
    cards = (
        ModelCard("i2znet", sizes.i2z, licence="none"),
        ModelCard("dam", sizes.dam, licence="none"),
    )
    return System(net, dam, head.topology, *cards)


def random_batch(sizes: Preset, batch: int) -> dict[str, np.ndarray]:
    """What a regression step takes: crops, z, H, vertices."""
    rng = np.random.default_rng(1)
    side = sizes.i2z.image_size
    pose = rng.normal(size=(batch, 6)) * [0.0005, 0.3, 0.3, 0.2, 0.05, 0.05]
    pose[:, 0] += 0.007
    floats = {
        "z": rng.normal(size=(batch, sizes.i2z.z_size)),
        "pose": pose,
        "vertices": rng.normal(0, 60, (batch, sizes.dam.vertices, 3)),
    }
    image = rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    return {"image": image} | {k: v.astype(np.float32) for k, v in floats.items()}


def _random(network: Any, rng: np.random.Generator, *, gain: float) -> Tensors:
    tensors = {}
    for name, value in network.state_dict().items():
        shape = tuple(value.shape)
        leaf = name.split(".")[-1]
        if leaf == "running_var" or (leaf == "weight" and len(shape) == 1):
            array = rng.uniform(0.7, 1.4, shape)
        elif leaf == "g":
            array = np.sqrt(gain) * rng.uniform(0.8, 1.2, shape)
        elif leaf == "weight":
            array = rng.standard_normal(shape) * np.sqrt(gain / np.prod(shape[1:]))
        else:
            array = 0.05 * rng.standard_normal(shape)
        tensors[name] = np.asarray(array, np.float32)
    for name, value in tensors.items():
        if name.endswith(".g"):
            # Weight norm divides by the norm of the whole kernel; an output of a
            # deconvolution sees a quarter of its own.
            sees = 4 if ".deconv." in name else 1
            value *= np.sqrt(len(value) * sees)
        elif name.endswith("_anchor"):
            value[:] = float("weight" in name)
    return {k: v for k, v in tensors.items() if "num_batches" not in k}


def _statistics(config: Any, rng: np.random.Generator) -> Tensors:
    t = config.texture_size
    return {
        "tex_mean.png": rng.uniform(0, 255, (t, t, 3)).astype(np.float32),
        "tex_var.txt": np.asarray(400.0),
        "vert_mean.bin": rng.normal(0, 60, (config.vertices, 3)).astype(np.float32),
        "vert_var.txt": np.asarray(30.0),
    }


def _random_array(rng: np.random.Generator, name: str, shape: Any) -> np.ndarray:
    """Of what is trained; the streams' are replaced."""
    leaf = name.split(".")[-1]
    if leaf == "kernel":
        scale = np.sqrt(2 / max(1, np.prod(shape[:-1])))
        return rng.standard_normal(shape, np.float32) * np.float32(scale)
    return np.full(shape, float(leaf in ("scale", "var")), np.float32)


def _converted(
    family: Published, config: Any, tensors: Tensors, dtype: DTypeLike
) -> Any:
    module = build(family.architecture, config, dtype=dtype)
    shapes = {name: tuple(leaf.shape) for name, leaf in named_arrays(module).items()}
    fitted = fit(tensors, family.entries(config), shapes, family.ignored)
    assert not fitted.mismatches, fitted.mismatches
    return fill(module, {name: jnp.asarray(x) for name, x in fitted.arrays.items()})
