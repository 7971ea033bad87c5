# SPDX-License-Identifier: Apache-2.0
"""A Multiface checkpoint with random weights, and our model of it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from i2z_jax.config import DAMConfig
from i2z_jax.convert import multiface_dam
from i2z_jax.convert.mapping import Tensors
from i2z_jax.convert.torch_reference.dam import TorchDAM
from i2z_jax.models.dam import DAM, texture_plan
from tests.models import weights

VARIANTS = ("base", "res", "warp", "non", "bilinear")


def tiny(variant: Any = "base", **sizes: int) -> DAMConfig:
    """Small, and every size another number, so that no two axes can be mixed up."""
    sizes = {"z_size": 12, "vertices": 35, "texture_size": 64, "cameras": 4} | sizes
    return DAMConfig(variant=variant, **sizes)


def random_tensors(config: DAMConfig, seed: int) -> Tensors:
    """A state dict with nothing left at 0 or 1, but the anchor of the colours.

    Norms g are such that activations neither grow nor vanish with depth.
    """
    rng = np.random.default_rng(seed)
    network = TorchDAM(config, *texture_plan(config.texture_size))
    tensors = {
        name: np.asarray(rng.normal(size=tuple(value.shape)), np.float32)
        for name, value in network.state_dict().items()
    }
    for name, value in tensors.items():
        if name.endswith(".g"):
            weight = tensors[name.removesuffix("g") + "weight"]
            inputs = weight.size / value.size
            if weight.shape[2:] == (4, 4) and name.startswith(("dec.", "warp.")):
                inputs /= 4  # a deconvolution's output sees one tap in four
            scale = rng.uniform(1.0, 1.6, value.shape) * np.linalg.norm(weight)
            value[:] = scale / np.sqrt(inputs)
        elif name.endswith(".bias"):
            value *= 0.1
    tensors["cc.weight_anchor"][:] = 1
    tensors["cc.bias_anchor"][:] = 0
    return tensors


def random_statistics(config: DAMConfig, seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    t = config.texture_size
    return {
        "tex_mean.png": rng.integers(0, 256, (t, t, 3)).astype(np.float32),
        "tex_var.txt": np.asarray(412.5),
        "vert_mean.bin": rng.normal(0, 60, (config.vertices, 3)).astype(np.float32),
        "vert_var.txt": np.asarray(31.25),
    }


def converted(
    config: DAMConfig, tensors: Tensors, dtype: DTypeLike = jnp.float32
) -> DAM:
    """Our model of a checkpoint's tensors and statistics."""
    return weights.converted(multiface_dam.PUBLISHED, config, tensors, dtype=dtype)


def run(model: DAM, method: str, *arguments: Any, **named: Any) -> Any:
    """A compiled `model.method(...)`; models of one configuration share the program."""
    graph, state = nnx.split(model)
    return _run(graph, method, state, arguments, named)


@partial(jax.jit, static_argnums=(0, 1))
def _run(graph: Any, method: str, state: Any, arguments: Any, named: Any) -> Any:
    return getattr(nnx.merge(graph, state), method)(*arguments, **named)
