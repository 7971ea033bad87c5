# SPDX-License-Identifier: Apache-2.0
"""Networks with random weights and random running statistics: nothing is 0 or 1.

Scaled so that activations neither vanish nor grow with depth, and filled without
initialisers, which take minutes to compile for networks of hundreds of shapes.
"""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from i2z_jax.checkpoint import build, fill, named_arrays
from i2z_jax.convert.mapping import Published, Tensors, fit

if TYPE_CHECKING:  # it takes two seconds, and processes with networks alone start often
    import torch


def random_array(
    rng: np.random.Generator, leaf: str, shape: Any, fan_in: int, gain: float = 2
) -> Any:
    if leaf == "var":
        return rng.uniform(0.5, 2.0, shape).astype(np.float32)
    if leaf == "scale":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    width = np.sqrt(gain / fan_in) if leaf == "kernel" else 0.2
    return rng.standard_normal(shape, np.float32) * np.float32(width)


def random_module(
    architecture: str, config: Any, *, seed: int = 0, dtype: DTypeLike = jnp.float32
) -> nnx.Module:
    rng = np.random.default_rng(seed)
    module = build(architecture, config, dtype=dtype)
    arrays = {}
    for name, abstract in named_arrays(module).items():
        fan_in = int(np.prod(abstract.shape[:-1])) or 1
        array = random_array(rng, name.split(".")[-1], abstract.shape, fan_in)
        arrays[name] = jnp.asarray(array)
    return fill(module, arrays)


TORCH_LEAVES = {"running_var": "var", "running_mean": "mean", "bias": "bias"}


def random_tensors(network: "torch.nn.Module", seed: int, *, gain: float) -> Tensors:
    """A state dict for a PyTorch network, batch counters aside.

    Args:
        gain: variance of a kernel times its inputs; 2 keeps a chain of ReLU layers
            level, a sum of many blocks needs less.
    """
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, value in network.state_dict().items():
        shape = tuple(value.shape)
        if shape:
            kernel_or_scale = "kernel" if len(shape) > 1 else "scale"
            leaf = TORCH_LEAVES.get(name.split(".")[-1], kernel_or_scale)
            tensors[name] = random_array(
                rng, leaf, shape, int(np.prod(shape[1:])), gain
            )
    return tensors


def converted(
    family: Published, config: Any, tensors: Tensors, *, dtype: DTypeLike = jnp.float32
) -> nnx.Module:
    """Our network with a PyTorch network's tensors."""
    module = build(family.architecture, config, dtype=dtype)
    shapes = {name: tuple(leaf.shape) for name, leaf in named_arrays(module).items()}
    fitted = fit(tensors, family.entries(config), shapes, family.ignored)
    assert not fitted.mismatches
    return fill(module, {name: jnp.asarray(x) for name, x in fitted.arrays.items()})
