# SPDX-License-Identifier: Apache-2.0
"""Convolutions and their gradients, against PyTorch's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch.nn import functional

from i2z_jax.models import convolution
from i2z_jax.models.convolution import Conv, convolve

# (kernel, stride, inputs, outputs): few channels and many; either factor of a product
# of a gradient is the one that is shifted.
CASES = {
    "3x3": (3, 1, 20, 24),
    "3x3, eight columns": (3, 1, 6, 6),
    "3x3, three columns": (3, 1, 16, 9),
    "7x7, strided, four columns": (7, 2, 3, 16),
    "7x7, strided": (7, 2, 3, 64),
    "3x3, strided, two columns": (3, 2, 8, 16),
    "3x3, by Winograd, fewer outputs": (3, 1, 80, 64),
    "3x3, by Winograd, more outputs": (3, 1, 50, 90),
    "3x3, outputs a quarter of the inputs": (3, 1, 33, 8),
    "1x1, many": (1, 1, 64, 64),
    "5x5, many": (5, 1, 64, 65),
    "2x2, fewer outputs": (2, 1, 5, 3),
    "2x2, more outputs": (2, 1, 3, 5),
}
# No multiple of a tile's four rows, and one that is.
HEIGHTS = (1, 8, 11)


def nchw(x) -> torch.Tensor:
    return torch.from_numpy(np.array(x, np.float32).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_result_and_gradients_are_pytorch_s(case, height, rng):
    size, stride, inputs, outputs = case
    x = rng.normal(size=(2, height, 8, inputs)).astype(np.float32)
    kernel = rng.normal(size=(size, size, inputs, outputs)).astype(np.float32)
    theirs = nchw(x).requires_grad_()
    weight = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()).requires_grad_()
    y = functional.conv2d(theirs, weight, stride=stride, padding=size // 2)
    up = torch.from_numpy(rng.normal(size=y.shape).astype(np.float32))
    y.backward(up)

    found, pull = jax.vjp(
        lambda x, kernel: convolve(x, kernel, stride),
        jnp.asarray(x),
        jnp.asarray(kernel),
    )
    of_x, of_kernel = pull(jnp.asarray(up.numpy().transpose(0, 2, 3, 1)))
    of_weight = np.array(of_kernel).transpose(3, 2, 0, 1)
    pairs = (nchw(found), y), (nchw(of_x), theirs.grad), (of_weight, weight.grad)
    for ours, expected in pairs:
        expected = expected.detach().numpy()
        np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (7, 2)])
def test_the_layer_is_flax_s(size, stride, rng):
    x = jnp.asarray(rng.normal(size=(2, 7, 6, 3)).astype(np.float32))
    around = 2 * [(size // 2, size // 2)]
    layers = (
        Conv(3, 5, size=size, stride=stride, rngs=nnx.Rngs(0)),
        nnx.Conv(3, 5, (size, size), stride, padding=around, rngs=nnx.Rngs(0)),
    )
    ours, theirs = (
        nnx.grad(lambda layer: jnp.sum(jnp.sin(layer(x))))(layer) for layer in layers
    )
    np.testing.assert_allclose(layers[0](x), layers[1](x), atol=1e-6)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(ours[name][...], theirs[name][...], atol=1e-4)


@pytest.mark.parametrize(
    ("channels", "platform", "convolutions"),
    [((64, 80), "cpu", 12), ((64, 80), "cuda", 3), ((20, 24), "cpu", 3)],
)
def test_only_a_cpu_writes_many_channels_its_own_way(channels, platform, convolutions):
    """Six of 1x3 for the result and for the image's gradient; else products."""
    program = result_and_gradients(*channels, platform)
    assert program.count("stablehlo.convolution") == convolutions


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_only_a_cpu_makes_several_columns_of_few_channels_at_a_time(platform):
    """Two of 16 outputs and, for the image's gradient, four of 8."""
    program = result_and_gradients(8, 16, platform)
    for wide in ("tensor<3x4x8x32xf32>", "tensor<3x6x16x32xf32>"):
        assert (wide in program) == (platform == "cpu")


@pytest.mark.parametrize(
    ("dtype", "platform", "by_eights"),
    [
        ("bfloat16", "cuda", True),
        ("float32", "cuda", False),
        ("bfloat16", "tpu", False),
    ],
)
def test_a_gpu_s_16_bit_channels_come_by_eights(dtype, platform, by_eights):
    program = result_and_gradients(20, 9, platform, dtype)
    short = {"bfloat16": "bf16", "float32": "f32"}[dtype]
    assert (f"tensor<3x3x24x16x{short}>" in program) == by_eights
    assert (f"tensor<2x6x6x9x{short}>) -> tensor<" in program) != by_eights


def test_channels_by_eights_change_nothing(rng):
    """Called on this CPU: of a GPU's way no other test here sees the numbers."""
    x, kernel, up = (
        jnp.asarray(rng.normal(size=shape), jnp.bfloat16)
        for shape in ((2, 7, 8, 20), (3, 3, 20, 9), (2, 7, 8, 9))
    )
    on_gpu = partial(convolution._on_gpu, stride=1)
    found, pull = jax.vjp(on_gpu, x, kernel)
    theirs = nchw(x).double().requires_grad_()
    weight = np.array(kernel, np.float64).transpose(3, 2, 0, 1)
    weight = torch.from_numpy(weight.copy()).requires_grad_()
    y = functional.conv2d(theirs, weight, padding=1)
    y.backward(nchw(up).double())
    of_x, of_kernel = pull(up)
    of_weight = np.array(of_kernel, np.float32).transpose(3, 2, 0, 1)
    pairs = (nchw(found), y), (nchw(of_x), theirs.grad), (of_weight, weight.grad)
    for ours, expected in pairs:
        expected = expected.detach().numpy()
        np.testing.assert_allclose(ours, expected, atol=2**-7 * np.abs(expected).max())


def result_and_gradients(
    inputs: int, outputs: int, platform: str, dtype: str = "float32"
) -> str:
    """The program, as it is before XLA has it."""

    def both(x, kernel):
        y, pull = jax.vjp(convolve, x, kernel)
        return y, pull(y)

    shapes = [
        jax.ShapeDtypeStruct(s, dtype)
        for s in ((2, 6, 6, inputs), (3, 3, inputs, outputs))
    ]
    lowered = jax.jit(both).trace(*shapes).lower(lowering_platforms=(platform,))
    return lowered.as_text()


def test_a_gradient_of_bfloat16_is_summed_up_in_float32(rng):
    x, up = (
        jnp.asarray(rng.normal(size=(4, 32, 32, channels)), jnp.bfloat16)
        for channels in (64, 80)
    )

    def of_kernel(dtype):
        kernel = jnp.zeros((3, 3, 64, 80), dtype)
        pull = jax.vjp(lambda k: convolve(x.astype(dtype), k), kernel)[1]
        return pull(up.astype(dtype))[0]

    found = of_kernel(jnp.bfloat16)
    assert found.dtype == jnp.bfloat16
    # One rounding of the sum, not one for each of its 4096 parts.
    exact = of_kernel(jnp.float32)
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-7, atol=1e-3)
