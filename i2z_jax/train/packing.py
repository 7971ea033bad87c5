# SPDX-License-Identifier: Apache-2.0
"""Small arrays joined end to end, for work that treats every number alike.

An optimiser with its guard and norms compiles to eight loops for each array of a tree.
A network has hundreds of arrays, most of them small, and their loops take longer to
compile than the network with its gradient (docs/notes/performance.md). Packed, the
small arrays share eight loops; each large array keeps its own eight.
"""

from typing import Any

import jax
import jax.numpy as jnp

from i2z_jax import sharding
from i2z_jax.types import Array, PyTree

# Lists of arrays, by what they are of.
Packed = dict[str, list[Any]]

# An array is small if so many of it are no larger than one that a mesh may divide.
MANY = 16
# By the name that every layer gives what it multiplies with. A gain of each camera has
# two axes, too, and is no kernel: at 1 it does nothing, and decay pulls towards 0.
KERNEL = jax.tree_util.DictKey("kernel")


def pack(tree: PyTree) -> Packed:
    """Arrays of one type as lists `kernels` and `others`.

    Those that are not small stay as they are; behind them, the small ones are one
    vector.
    """
    packed: Packed = {"kernels": [], "others": []}
    small: dict[str, list[Array]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if _is_small(leaf):
            small.setdefault(_group(path), []).append(leaf.ravel())
        else:
            packed[_group(path)].append(leaf)
    for group, some in small.items():
        packed[group].append(jnp.concatenate(some))
    return packed


def unpack(packed: Packed, like: PyTree) -> PyTree:
    """The tree that `pack` was given, or another of the shapes of `like`."""
    large = {group: iter(arrays) for group, arrays in packed.items()}
    start = dict.fromkeys(packed, 0)

    def cut(path: tuple, leaf: Array) -> Array:
        group = _group(path)
        if not _is_small(leaf):
            return next(large[group])
        start[group] += leaf.size
        vector = packed[group][-1][start[group] - leaf.size : start[group]]
        return vector.reshape(leaf.shape)

    return jax.tree_util.tree_map_with_path(cut, like)


def are_kernels(packed: Packed) -> dict[str, bool]:
    """Which arrays are kernels, as a mask of `packed`."""
    return {group: group == "kernels" for group in packed}


def _is_small(leaf: Array) -> bool:
    return MANY * leaf.size <= sharding.LARGE


def _group(path: tuple) -> str:
    return "kernels" if KERNEL in path else "others"
