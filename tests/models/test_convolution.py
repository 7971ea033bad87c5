# SPDX-License-Identifier: Apache-2.0
"""Convolutions and their gradients, against PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch.nn import functional

from i2z_jax.models.convolution import Conv, convolve

# (kernel, inputs, outputs): either factor of the product is the one that is shifted.
CASES = {
    "3x3, fewer outputs": (3, 6, 4),
    "3x3, more outputs": (3, 3, 8),
    "2x2, fewer outputs": (2, 5, 3),
    "2x2, more outputs": (2, 3, 5),
}


def nchw(x) -> torch.Tensor:
    return torch.from_numpy(np.array(x, np.float32).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_result_and_gradients_are_pytorch_s(case, rng):
    size, inputs, outputs = case
    x = rng.normal(size=(2, 9, 8, inputs)).astype(np.float32)
    kernel = rng.normal(size=(size, size, inputs, outputs)).astype(np.float32)
    theirs = nchw(x).requires_grad_()
    weight = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()).requires_grad_()
    y = functional.conv2d(theirs, weight, padding=1)
    up = torch.from_numpy(rng.normal(size=y.shape).astype(np.float32))
    y.backward(up)

    found, pull = jax.vjp(convolve, jnp.asarray(x), jnp.asarray(kernel))
    of_x, of_kernel = pull(jnp.asarray(up.numpy().transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(nchw(found), y.detach(), atol=1e-4)
    np.testing.assert_allclose(nchw(of_x), theirs.grad, atol=1e-4)
    of_weight = np.array(of_kernel).transpose(3, 2, 0, 1)
    np.testing.assert_allclose(of_weight, weight.grad, atol=2e-4)


def test_the_layer_is_flax_s(rng):
    x = jnp.asarray(rng.normal(size=(2, 7, 6, 3)).astype(np.float32))
    layers = Conv(3, 5, rngs=nnx.Rngs(0)), nnx.Conv(3, 5, (3, 3), rngs=nnx.Rngs(0))
    ours, theirs = (
        nnx.grad(lambda layer: jnp.sum(jnp.sin(layer(x))))(layer) for layer in layers
    )
    np.testing.assert_allclose(layers[0](x), layers[1](x), atol=1e-6)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(ours[name][...], theirs[name][...], atol=1e-4)


@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", 0), ("cuda", 1)])
def test_only_a_cpu_multiplies_matrices(platform, convolutions):
    def of_kernel(kernel, x):
        return jax.grad(lambda k: convolve(x, k).sum())(kernel)

    shapes = [
        jax.ShapeDtypeStruct(s, jnp.float32) for s in ((3, 3, 8, 4), (2, 6, 6, 8))
    ]
    program = jax.jit(of_kernel).trace(*shapes).lower(lowering_platforms=(platform,))
    # The sum does not need the result itself.
    assert program.as_text().count("stablehlo.convolution") == convolutions


def test_a_gradient_of_bfloat16_is_summed_up_in_float32(rng):
    x, up = (
        jnp.asarray(rng.normal(size=(4, 32, 32, channels)), jnp.bfloat16)
        for channels in (8, 4)
    )

    def of_kernel(dtype):
        kernel = jnp.zeros((3, 3, 8, 4), dtype)
        pull = jax.vjp(lambda k: convolve(x.astype(dtype), k), kernel)[1]
        return pull(up.astype(dtype))[0]

    found = of_kernel(jnp.bfloat16)
    assert found.dtype == jnp.bfloat16
    # One rounding of the sum, not one for each of its 4096 parts.
    exact = of_kernel(jnp.float32)
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-7, atol=1e-3)
