# SPDX-License-Identifier: Apache-2.0
"""Operations counted by hand, and by XLA on a CPU, which calls no libraries."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from benchmarks.flops import flops
from i2z_jax.models.dam_layers import deconvolve


def by_xla(function, *arguments):
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


def test_product_and_its_turns():
    a, b = jnp.ones((3, 4)), jnp.ones((4, 5))
    assert flops(lambda a, b: a @ b, a, b) == 2 * 3 * 4 * 5
    turns = lambda a: jax.lax.scan(lambda x, _: (x @ b @ b.T, None), a, length=7)[0]  # noqa: E731
    assert flops(turns, a) == 7 * 2 * (2 * 3 * 4 * 5)
    nested = jax.jit(jax.vmap(lambda a: a @ b))
    assert flops(nested, jnp.ones((6, 3, 4))) == 6 * 2 * 3 * 4 * 5


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((3, 1), (0, 2))])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_and_its_gradients(stride, padding, groups):
    """Padding and dilation multiply nothing; the backward pass is made of them."""
    x, kernel = jnp.ones((2, 9, 8, 6)), jnp.ones((3, 5, 6 // groups, 4))

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), padding, feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    def back(x, kernel, y):
        return jax.vjp(convolve, x, kernel)[1](y)

    y = convolve(x, kernel)
    assert flops(convolve, x, kernel) == by_xla(convolve, x, kernel)
    assert flops(back, x, kernel, y) == by_xla(back, x, kernel, y)


def test_a_platform_s_own_way_does_not_count():
    """The larger of two branches does, where nobody knows which is taken."""
    a = jnp.ones((3, 3))
    once, twice = (lambda a: a @ a), (lambda a: a @ a @ a)
    by_platform = lambda a: jax.lax.platform_dependent(a, cpu=twice, default=once)  # noqa: E731
    by_value = lambda a: jax.lax.cond(a[0, 0] > 0, once, twice, a)  # noqa: E731
    assert flops(by_platform, a) == 2 * 3**3
    assert flops(by_value, a) == 2 * 2 * 3**3


def test_a_network():
    """Against XLA's count of everything, products and the rest."""
    net = nnx.Sequential(
        nnx.Conv(16, 32, (3, 3), rngs=nnx.Rngs(0)),
        nnx.relu,
        nnx.Conv(32, 32, (3, 3), rngs=nnx.Rngs(1)),
    )
    graph, state = nnx.split(net)

    def loss(state, x):
        return deconvolve(nnx.merge(graph, state)(x), jnp.ones((4, 4, 32, 8))).sum()

    x = jnp.ones((2, 16, 16, 16))
    gradient = jax.value_and_grad(loss)
    assert flops(gradient, state, x) == pytest.approx(
        by_xla(gradient, state, x), rel=0.03
    )
