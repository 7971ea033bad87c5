# SPDX-License-Identifier: Apache-2.0
"""Axis glossary and array aliases (DESIGN section 2).

Annotations name their axes, last axis last:

| letter | axis |
|---|---|
| `*b` | any leading batch axes |
| `b`  | one batch axis |
| `h w`| image rows (downwards) and columns; pixel centres at +0.5 |
| `c`  | channels; colours are RGB in [0, 1] |
| `n`  | mesh vertices |
| `tri`| triangles |
| `f`  | frames of a video |
| `t`  | texture rows and columns; row 0 is v = 0 |
| `l`  | landmarks (68 where not said otherwise) |
| `z`  | facial state |
| `6`  | head pose H = f, rx, ry, rz, tx, ty |

`Float[Array, ...]` is a JAX array (a tracer included), `Float[NDArray, ...]` a
NumPy array, `Float[ArrayLike, ...]` either. The tests check every annotation at
run time (`tests/conftest.py`).
"""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

Array = jax.Array
NDArray = np.ndarray
if TYPE_CHECKING:
    # NumPy in, NumPy out, JAX in, JAX out: no annotation says so without noise.
    ArrayLike = Any
else:
    ArrayLike = jax.Array | np.ndarray

# Arrays in containers that JAX looks into.
PyTree = Any
# What a step says of itself, on the devices; what an evaluation says, as numbers.
Metrics = dict[str, Array]
Figures = dict[str, float]
# One example of a dataset, on the host.
Example = dict[str, Any]

__all__ = [
    "Array",
    "ArrayLike",
    "Bool",
    "Example",
    "Figures",
    "Float",
    "Int",
    "Metrics",
    "NDArray",
    "PyTree",
    "UInt8",
]
