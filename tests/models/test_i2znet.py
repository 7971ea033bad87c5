# SPDX-License-Identifier: Apache-2.0
"""I2ZNet: sizes of the paper, what is trained, and what each output depends on."""

import inspect
import os
from dataclasses import replace
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr

from i2z_jax.checkpoint import build
from i2z_jax.config import HourglassConfig, I2ZConfig, I2ZVariant, VGGConfig
from i2z_jax.errors import InputError
from i2z_jax.models.features import StreamMaps, Unified, convolve_unified
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.parameters import Keys, parameter_table, split_trained
from i2z_jax.models.shape_encoder import fit_shape, shape_of
from i2z_jax.models.vgg import VGG
from i2z_jax.presets import PAPER, TINY
from tests.models.bells import bells
from tests.models.weights import random_module
from tests.processes import finish, start

VARIANTS = get_args(I2ZVariant)
# Everything `tiny` has, and batch normalisation in both streams.
SMALL = I2ZConfig(
    image_size=64,
    vgg=VGGConfig(depth=16, batch_norm=True, channels=(8, 8, 48, 64, 64)),
    hourglass=HourglassConfig("residual", 1, (8, 8), 16, landmarks=8),
    z_size=5,
    level_size=12,
    hidden=(16, 8),
)


def image_of(config, rng, batch=2):
    shape = (batch, config.image_size, config.image_size, 3)
    return jnp.asarray(rng.random(shape, np.float32))


def run(net, method, *arguments):
    """A method of a network, compiled as a whole."""
    graph, state = nnx.split(net)
    return jax.jit(
        lambda state, *args: getattr(nnx.merge(graph, state), method)(*args)
    )(state, *arguments)


def total(output):
    return jnp.sum(jnp.square(output.z)) + jnp.sum(jnp.square(output.pose))


def test_paper_has_the_published_sizes():
    """Channels of the supplement; DESIGN section 12 counts the dense layers."""
    net = build("i2znet", PAPER.i2z)
    inputs = [e.compress1.kernel.shape[-2:] for e in net.encoders]
    assert inputs == [(324, 81), (580, 145), (580, 145), (580, 145)]
    assert [e.compress2.kernel.shape[-1] for e in net.encoders] == [20, 36, 36, 36]
    assert [e.to_z.kernel.shape[0] for e in net.encoders] == [
        64 * 64 * 20,
        32 * 32 * 36,
        16 * 16 * 36,
        8 * 8 * 36,
    ]
    table = parameter_table(net)
    trained = sum(p.count for p in table if p.trained)
    dense = sum(p.count for p in table if p.trained and len(p.shape) == 2)
    assert round(dense / 1e6) == 139
    assert trained == 141_417_274
    assert round(sum(p.count for p in table if not p.trained) / 1e6) == 44


@pytest.mark.parametrize("variant", VARIANTS)
def test_trained_parts_of_each_variant(variant):
    for preset in (PAPER, TINY):
        table = parameter_table(build("i2znet", replace(preset.i2z, variant=variant)))
        trained = {p.name.split(".")[0] for p in table if p.trained}
        frozen = {p.name.split(".")[0] for p in table if not p.trained}
        heads = {"unify", "encoders", "z_regressor", "pose_regressor"}
        statistics = {"pose_mean", "pose_std"}
        if preset.i2z.shape_size and "key" in variant:
            heads, statistics = heads | {"shape"}, statistics | {"shape"}
        assert trained == heads | ({"vgg"} if variant == "vgg-scratch" else set())
        streams = {"vgg", "hourglass"} if "key" in variant else {"vgg"}
        if variant == "vgg-scratch":
            # Of a trained VGG only the running statistics stand still.
            still = {p.name for p in table if not p.trained and p.name[:3] == "vgg"}
            assert {name.split(".")[-1] for name in still} <= {"mean", "var"}
            frozen -= {"vgg"}
        assert frozen == statistics | (streams - trained)
        levels = {p.name.split(".")[1] for p in table if p.name.startswith("encoders")}
        assert len(levels) == (4 if "skip" in variant else 1)


def test_a_network_starts_as_the_fit(rng):
    """Of landmarks; what the levels say counts for nothing yet, and can be learned."""
    config = replace(SMALL, variant="vgg+skip+key", shape_size=8)
    net = random_module("i2znet", config)
    net.pose_mean[...] = jnp.arange(6.0)
    net.pose_std[...] = jnp.full(6, 2.0)
    maps = run(net, "streams", image_of(config, rng))
    heatmaps = np.stack([bells(rng.uniform(-0.5, 0.5, (8, 2))) for _ in range(30)])
    target = rng.normal(size=(30, config.z_size + 6)).astype(np.float32)
    fit = jax.jit(fit_shape)(jnp.asarray(heatmaps), jnp.asarray(target))
    net.load_fit(fit)
    mean, whiten = map(np.asarray, fit[:2])
    (kernel, bias), (last_kernel, last_bias) = (map(np.asarray, x) for x in fit[2:])
    x = (np.asarray(jax.jit(shape_of)(maps.heatmaps)) - mean) @ whiten
    hidden = np.maximum(x @ kernel + bias, 0)
    read = np.concatenate([x, hidden], -1) / np.sqrt(len(last_kernel))
    probe = read @ last_kernel + last_bias
    regressors = net.z_regressor, net.pose_regressor
    last = [np.asarray(each.layers[-1].bias[...]) for each in regressors]
    said = run(net, "regress", maps)
    np.testing.assert_allclose(said.z, probe[:, :-6] + last[0], rtol=1e-3, atol=1e-3)
    pose = np.arange(6) + 2 * (probe[:, -6:] + last[1])
    np.testing.assert_allclose(said.pose, pose, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_what_is_trained_and_nothing_else(variant, rng):
    config = replace(SMALL, variant=variant)
    net = random_module("i2znet", config)
    graph, trained, rest = split_trained(net)

    @jax.jit
    def gradients(trained, rest, image):
        def loss(trained, rest):
            net = nnx.merge(graph, trained, rest, copy=True)
            output = net(image)
            return total(output), (output, nnx.split(net, nnx.Param, ...)[2])

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(trained, rest)

    image = image_of(config, rng)
    (wanted, unwanted), (output, rest_after) = gradients(trained, rest, image)

    assert output.z.shape == (2, config.z_size)
    assert output.pose.shape == (2, 6)
    if "key" in variant:
        assert output.heatmaps.shape == (2, 16, 16, 8)
    else:
        assert output.heatmaps is None
    for path, gradient in nnx.to_flat_state(wanted):
        assert jnp.any(gradient[...] != 0), f"no gradient at {path}"
    for path, gradient in nnx.to_flat_state(unwanted):
        # `vgg-scratch` trains through its statistics without changing them, and the
        # pose statistics are part of the answer.
        if path[0] in ("vgg", "hourglass") and variant != "vgg-scratch":
            assert jnp.all(gradient[...] == 0), f"a gradient at {path}"
    for before, after in zip(
        jax.tree.leaves(rest), jax.tree.leaves(rest_after), strict=True
    ):
        np.testing.assert_array_equal(before, after)


@pytest.fixture(scope="module")
def net():
    return random_module("i2znet", SMALL, seed=5)


@pytest.fixture(scope="module")
def maps(net):
    image = image_of(SMALL, np.random.default_rng(5), batch=3)
    return run(net, "streams", image)


def test_regressing_stored_maps_is_the_whole_network(net, maps):
    image = image_of(SMALL, np.random.default_rng(5), batch=3)
    whole, parts = run(net, "__call__", image), run(net, "regress", maps)
    np.testing.assert_allclose(parts.z, whole.z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.pose, whole.pose, rtol=1e-4, atol=1e-5)


def test_an_output_does_not_depend_on_the_rest_of_its_batch(net, maps):
    alone = run(net, "regress", jax.tree.map(lambda x: x[1:2], maps))
    np.testing.assert_allclose(
        alone.z[0], run(net, "regress", maps).z[1], rtol=1e-4, atol=1e-5
    )


def test_features_have_one_scale_per_image(net, maps):
    """A stream that is three times as loud says the same."""
    loud = StreamMaps(tuple(3 * x for x in maps.vgg), 7 * maps.heatmaps)
    for ours, theirs in zip(
        run(net, "features", maps), run(net, "features", loud), strict=True
    ):
        np.testing.assert_allclose(theirs, ours, atol=1e-3)


def test_features_against_float64(net, maps):
    """u_l of one image, spelled out: level 4 of DESIGN is index 0, pooled nowhere."""
    features = run(net, "features", maps)
    heat = np.float64(maps.heatmaps[0])
    for level, u in enumerate(features):
        parts = []
        for stream, x in (
            (net.unify.vgg, np.float64(maps.vgg[level][0])),
            (net.unify.heatmaps, heat),
        ):
            scale, bias = map(np.asarray, (stream[level].scale, stream[level].bias))
            parts.append(x / np.sqrt((x**2).mean()) * scale + bias)
        np.testing.assert_allclose(u[0], np.concatenate(parts, -1), atol=2e-3)
        heat = np.maximum.reduce([heat[i::2, j::2] for i in (0, 1) for j in (0, 1)])


def test_scale_and_bias_inside_the_convolution_are_those_outside(rng):
    """Values and gradients, at the border too, where the bias meets the padding."""
    conv = nnx.Conv(6, 4, (3, 3), rngs=nnx.Rngs(3))
    conv.bias[...] = jnp.asarray(rng.normal(size=4), jnp.float32)
    x = jnp.asarray(rng.normal(size=(2, 5, 7, 6)), jnp.float32)
    scale, bias = jnp.asarray(rng.normal(size=(2, 6)), jnp.float32)
    up = jnp.asarray(rng.normal(size=(2, 5, 7, 4)), jnp.float32)
    graph, state = nnx.split(conv)

    def inside(state, scale, bias):
        u = Unified(x, scale, bias)
        return jnp.sum(
            up * convolve_unified(nnx.merge(graph, state), u, dtype=jnp.float32)
        )

    def outside(state, scale, bias):
        return jnp.sum(up * nnx.merge(graph, state)(Unified(x, scale, bias).whole()))

    ours, theirs = (
        jax.jit(jax.value_and_grad(f, (0, 1, 2)))(state, scale, bias)
        for f in (inside, outside)
    )
    for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def convolved(program):
    """Shapes of the results of all convolutions."""
    for equation in program.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation.outvars[0].aval.shape
        for inner in jaxprs_in_params(equation.params):
            yield from convolved(inner)


def test_no_gradient_as_large_as_the_maps_is_made(net, maps):
    """Read from the program: the step's cost is its convolutions."""
    graph, trained, rest = split_trained(net)

    def loss(trained, maps):
        return total(nnx.merge(graph, trained, rest).regress(maps))

    program = jax.make_jaxpr(jax.grad(loss))(trained, maps).jaxpr
    # A convolution's rule writes down both gradients; what nobody reads is not run.
    program, _ = dce_jaxpr(program, [True] * len(program.outvars))
    levels = {(*x.shape[:3], x.shape[3] + maps.heatmaps.shape[3]) for x in maps.vgg}
    made = list(convolved(program))
    assert len(made) > 3 * len(levels)
    assert not levels & set(made)


def test_pose_is_standardised_by_the_stored_statistics(net, maps):
    graph, state = nnx.split(net)
    other = nnx.merge(graph, state, copy=True)
    mean, std = jnp.arange(6.0), 1 + jnp.arange(6.0)
    other.pose_mean[...], other.pose_std[...] = mean, std
    before, after = (run(x, "regress", maps).pose for x in (net, other))
    raw = (before - net.pose_mean[None]) / net.pose_std[None]
    np.testing.assert_allclose(
        after, mean[None] + std[None] * raw, rtol=1e-3, atol=1e-3
    )


def test_maps_of_the_full_network_serve_every_frozen_variant(net, maps):
    for variant in ("vgg", "vgg+skip"):
        poorer = random_module("i2znet", replace(SMALL, variant=variant), seed=5)
        poorer.vgg = net.vgg
        image = image_of(SMALL, np.random.default_rng(5), batch=3)
        np.testing.assert_allclose(
            run(poorer, "regress", maps).z,
            run(poorer, "__call__", image).z,
            rtol=1e-4,
            atol=1e-5,
        )


def test_paper_forward_and_gradient():
    """Of shapes alone: values and gradients are those of the small networks above, and
    of the streams at full size, which are compared with PyTorch's."""
    graph, trained, rest = split_trained(build("i2znet", PAPER.i2z))

    def loss(trained, rest, image):
        output = nnx.merge(graph, trained, rest)(image)
        return total(output), output

    image = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    step = jax.value_and_grad(loss, has_aux=True)
    (_, output), gradient = jax.eval_shape(step, trained, rest, image)
    assert output.z.shape == (1, 128)
    assert output.pose.shape == (1, 6)
    assert output.heatmaps.shape == (1, 64, 64, 68)
    assert jax.tree.structure(gradient) == jax.tree.structure(trained)


def test_training_view_learns_statistics_and_the_resting_one_does_not(rng):
    config = HourglassConfig("hierarchical", 1, (4, 8), 8, landmarks=3, depth=1)
    net = random_module("hourglass", config)
    image = jnp.asarray(rng.random((4, 16, 16, 3), np.float32))
    first = jnp.array(net.bn1.mean[...])
    net(image)
    np.testing.assert_array_equal(net.bn1.mean[...], first)

    training = nnx.view(net, use_running_average=False)
    training(image)
    batch = np.float64(net.conv1(image))
    expected = 0.9 * np.float64(first) + 0.1 * batch.mean((0, 1, 2))
    np.testing.assert_allclose(training.bn1.mean[...], expected, rtol=1e-4, atol=1e-5)


def test_keys_initialise_as_nnx_rngs():
    config = VGGConfig(depth=16, channels=(2, 2, 2, 2, 2))
    ours, theirs = (nnx.state(VGG(config, rngs=r)) for r in (Keys(3), nnx.Rngs(3)))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize(
    ("side", "dtype"), [(32, np.float32), (64, np.uint8)], ids=["size", "bytes"]
)
def test_images_that_are_no_crops_of_its_size_are_refused(side, dtype):
    net = I2ZNet(SMALL, rngs=nnx.Rngs(0))
    image = jnp.zeros((2, side, side, 3), dtype)
    with pytest.raises(
        InputError, match=r"expected b 64 64 3, RGB, floats in \[0, 1\]"
    ):
        inspect.unwrap(I2ZNet.streams)(net, image)


def test_image_size_that_does_not_halve_is_refused():
    with pytest.raises(InputError, match="multiple of 64, got 96"):
        I2ZNet(replace(SMALL, image_size=96), rngs=nnx.Rngs(0))


TREE_MODE = """
import jax, jax.numpy as jnp
from flax import nnx
from tests.models.test_i2znet import SMALL, total
from tests.models.weights import random_module
from i2z_jax.models.parameters import split_trained
graph, trained, rest = split_trained(random_module("i2znet", SMALL))
loss = lambda trained: total(nnx.merge(graph, trained, rest)(jnp.ones((1, 64, 64, 3))))
gradient = jax.jit(jax.grad(loss))(trained)
assert jax.tree.structure(gradient) == jax.tree.structure(trained)
assert all(x.any() for x in jax.tree.leaves(gradient))
"""


def test_tree_mode_of_flax():
    """flax plans to drop graph mode; the same lines must work without it."""
    settings = {"NNX_GRAPH_MODE": "false", "NNX_GRAPH_UPDATES": "false"}
    finish(start("-c", TREE_MODE, environment=os.environ | settings))
