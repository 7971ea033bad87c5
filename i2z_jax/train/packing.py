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

# Vectors and lists of arrays by name.
Packed = dict[str, Any]

# An array is small if so many of it are no larger than one that a mesh may divide.
MANY = 16


def pack(tree: PyTree) -> Packed:
    """Arrays of one type as vectors `kernels` (of two and more axes) and `others`.

    Those that are not small stay as they are, in the list `large`.
    """
    leaves = jax.tree.leaves(tree)
    vectors: dict[str, list[Array]] = {}
    for leaf in leaves:
        if _is_small(leaf):
            vectors.setdefault(_group(leaf), []).append(leaf.ravel())
    joined = {name: jnp.concatenate(some) for name, some in vectors.items()}
    return {**joined, "large": [leaf for leaf in leaves if not _is_small(leaf)]}


def unpack(packed: Packed, like: PyTree) -> PyTree:
    """The tree that `pack` was given, or another of the shapes of `like`."""
    large = iter(packed["large"])
    start = dict.fromkeys(packed, 0)

    def cut(leaf: Array) -> Array:
        if not _is_small(leaf):
            return next(large)
        name = _group(leaf)
        start[name] += leaf.size
        vector = packed[name][start[name] - leaf.size : start[name]]
        return vector.reshape(leaf.shape)

    return jax.tree.map(cut, like)


def are_kernels(packed: Packed) -> dict[str, bool | list[bool]]:
    """Which of the arrays had two and more axes, as a mask of `packed`."""
    large = [leaf.ndim > 1 for leaf in packed["large"]]
    return {name: name == "kernels" for name in packed} | {"large": large}


def _is_small(leaf: Array) -> bool:
    return MANY * leaf.size <= sharding.LARGE


def _group(leaf: Array) -> str:
    return "kernels" if leaf.ndim > 1 else "others"
