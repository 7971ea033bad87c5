# SPDX-License-Identifier: Apache-2.0
"""Weight norm, deconvolution and warp: each against its definition or PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch.nn import functional

from i2z_jax.models.dam_layers import (
    NormedConv,
    NormedDense,
    Upsample,
    deconvolution_from_repeated,
    deconvolve,
)
from i2z_jax.models.dam_warp import warp
from tests.convert.dam_checkpoint import (
    converted,
    random_statistics,
    random_tensors,
    tiny,
)


def nchw(x):
    return torch.from_numpy(np.moveaxis(np.array(x), -1, 1))


LAYERS = {
    "dense": lambda: NormedDense(6, 5, dtype=jnp.float32, rngs=nnx.Rngs(0)),
    "conv": lambda: NormedConv(6, 5, dtype=jnp.float32, rngs=nnx.Rngs(0)),
    "upsample": lambda: Upsample(6, 5, 8, dtype=jnp.float32, rngs=nnx.Rngs(0)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_weight_norm_is_of_the_whole_tensor(name, rng):
    """One filter twice as large: all others shrink; under a norm per filter they stay.

    The whole weight twice as large changes nothing.
    """
    layer = LAYERS[name]()
    shape = (2, 6) if name == "dense" else (2, 4, 4, 6)
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    before = layer(x)
    kernel = layer.kernel[...]
    layer.kernel[...] = 2 * kernel
    np.testing.assert_allclose(layer(x), before, rtol=1e-5, atol=1e-6)

    layer.kernel[...] = kernel.at[..., 0].multiply(2.0)
    filters = np.sum(np.square(np.asarray(kernel, np.float64)).reshape(-1, 5), 0)
    shrunk = np.sqrt(filters.sum() / (filters.sum() + 3 * filters[0]))
    assert shrunk < 0.9
    np.testing.assert_allclose(
        layer(x)[..., 1:], shrunk * before[..., 1:], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", LAYERS)
def test_weight_norm_starts_as_the_drawn_kernel(name):
    layer = LAYERS[name]()
    np.testing.assert_allclose(layer.normalized(), layer.kernel[...], rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 3)], ids=str)
def test_deconvolve_is_transposed_convolution(size, rng):
    x = rng.normal(size=(2, *size, 3)).astype(np.float32)
    weight = rng.normal(size=(3, 4, 4, 4)).astype(np.float32)  # in, out, h, w
    expected = functional.conv_transpose2d(
        nchw(x), torch.from_numpy(weight), stride=2, padding=1
    )
    kernel = weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
    ours = deconvolve(jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(nchw(ours), expected, atol=1e-5)


def test_gradients_of_deconvolve_are_pytorch_s(rng):
    """By input and by kernel: the rule for the kernel is written by hand."""
    x = rng.normal(size=(2, 5, 3, 3)).astype(np.float32)
    weight = rng.normal(size=(3, 4, 4, 4)).astype(np.float32)
    cotangent = rng.normal(size=(2, 10, 6, 4)).astype(np.float32)
    x_peer, weight_peer = nchw(x), torch.from_numpy(weight)
    x_peer.requires_grad_()
    weight_peer.requires_grad_()
    y = functional.conv_transpose2d(x_peer, weight_peer, stride=2, padding=1)
    y.backward(nchw(cotangent))

    kernel = weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
    _, pull = jax.vjp(deconvolve, jnp.asarray(x), jnp.asarray(kernel))
    of_x, of_kernel = pull(jnp.asarray(cotangent))
    np.testing.assert_allclose(nchw(of_x), x_peer.grad, atol=1e-4)
    of_weight = of_kernel[::-1, ::-1].transpose(2, 3, 0, 1)
    np.testing.assert_allclose(of_weight, weight_peer.grad, atol=1e-4)


def test_repeat_and_convolve_is_one_deconvolution(rng):
    x = rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    weight = rng.normal(size=(6, 3, 3, 3)).astype(np.float32)  # out, in, h, w
    repeated = functional.interpolate(nchw(x), scale_factor=2, mode="nearest")
    expected = functional.conv2d(repeated, torch.from_numpy(weight), padding=1)
    kernel = deconvolution_from_repeated(jnp.asarray(weight.transpose(2, 3, 1, 0)))
    ours = deconvolve(jnp.asarray(x), kernel)
    np.testing.assert_allclose(nchw(ours), expected, atol=1e-5)


def test_deconvolution_starts_without_a_grid():
    """A constant map comes out constant, away from the border: no checkerboard."""
    layer = Upsample(4, 3, 16, dtype=jnp.float32, rngs=nnx.Rngs(0))
    inside = layer(jnp.ones((1, 8, 8, 4)))[:, 2:-2, 2:-2]
    np.testing.assert_allclose(inside, inside[:, :1, :1] + 0 * inside, atol=1e-6)


def test_warp_reads_as_grid_sample_does(rng):
    """Zeros outside, halves at the edge; fields that point outside included."""
    texture = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    field = rng.uniform(-1.3, 1.3, (2, 16, 16, 2)).astype(np.float32)
    field[0, 0, :4] = [[-1, -1], [1, 1], [-1, 1], [0, 0]]
    expected = functional.grid_sample(
        nchw(texture), torch.from_numpy(field), align_corners=False
    )
    ours = warp(jnp.asarray(texture), jnp.asarray(field))
    np.testing.assert_allclose(nchw(ours), expected, atol=1e-5)


@pytest.mark.parametrize("texture_size", [64, 1024])
def test_warp_keeps_texels_in_order(texture_size):
    """Sums of positive steps: a fold of the texture cannot be expressed.

    Nor is it rounded: the field is float32 in a bfloat16 model too.
    """
    config = tiny("warp", texture_size=texture_size)
    tensors = random_tensors(config, 0) | random_statistics(config, 0)
    decoder = converted(config, tensors, jnp.bfloat16).warp
    assert decoder is not None
    field = jax.jit(decoder)(10 * jax.random.normal(jax.random.key(0), (1, 12)))
    assert field.dtype == jnp.float32
    assert (jnp.diff(field[..., 0], axis=2) > -1e-6).all()
    assert (jnp.diff(field[..., 1], axis=1) > -1e-6).all()
    assert jnp.abs(field).max() <= 1
    assert jnp.ptp(field) > 1
