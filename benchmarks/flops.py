# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of a program as it was written: products and convolutions.

Compilers do not say: on a GPU they call libraries whose work they do not count. This
counts the jaxpr, the same on every device. A multiplication with its addition is two;
products with padding or with the zeros of a dilation are none. Where a platform has its
own way (`lax.platform_dependent`), the default counts. Everything else of a network is
too little to matter, as in what is usually called model FLOPs.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr


def flops(function: Callable, *arguments: Any) -> float:
    """Of one call; a `while` loop counts once, for nobody knows its turns."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    # Gradients are written with all of the forward pass; what nobody reads is not run.
    needed, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _of_jaxpr(needed)


def _of_jaxpr(jaxpr: Jaxpr) -> float:
    return sum(_of_equation(each) for each in jaxpr.eqns)


def _of_equation(equation: Any) -> float:
    name = equation.primitive.name
    if name == "dot_general":
        return _product(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    parts = [_of_jaxpr(inner) for inner in jaxprs_in_params(equation.params)]
    if name == "cond":
        platforms = equation.params.get("branches_platforms")
        return parts[platforms.index(None)] if platforms else max(parts)
    turns = equation.params["length"] if name == "scan" else 1
    return turns * sum(parts)


def _product(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    depth = math.prod(left[axis] for axis in contracted)
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * depth


def _convolution(equation: Any) -> float:
    at = equation.params
    image, kernel = (v.aval.shape for v in equation.invars)
    out = equation.outvars[0].aval.shape
    lhs, rhs, result = at["dimension_numbers"]
    pairs = [
        _taps(
            image[i], kernel[k], out[o], stride, padding, (dilated, kernel_dilated)
        )
        for i, k, o, stride, padding, dilated, kernel_dilated in zip(
            lhs[2:], rhs[2:], result[2:], at["window_strides"], at["padding"],
            at["lhs_dilation"], at["rhs_dilation"], strict=True,
        )
    ]  # fmt: skip
    channels = out[result[1]] * kernel[rhs[1]]
    # Grouped by examples, an output sees its own group only.
    batch = out[result[0]]
    return 2.0 * batch * channels * math.prod(pairs)


def _taps(
    size: int,
    width: int,
    outputs: int,
    stride: int,
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> int:
    """Pairs of an output and a tap of the kernel that meet a pixel of the image."""
    of_image, of_kernel = dilation
    place = (
        stride * np.arange(outputs)[:, None]
        + of_kernel * np.arange(width)[None]
        - padding[0]
    )
    meets = (place >= 0) & (place <= of_image * (size - 1)) & (place % of_image == 0)
    return int(meets.sum())
