# SPDX-License-Identifier: Apache-2.0
"""What callers of the deep appearance model may rely on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from i2z_jax.config import DAMConfig
from i2z_jax.convert.torch_reference.dam import TorchDAM
from i2z_jax.errors import InputError
from i2z_jax.models.dam import DAM, Posterior, texture_plan
from i2z_jax.models.parameters import split_trained
from tests.convert.dam_checkpoint import (
    VARIANTS,
    converted,
    random_statistics,
    random_tensors,
    run,
    tiny,
)


@pytest.fixture(scope="module")
def tensors():
    return random_tensors(tiny(), 0) | random_statistics(tiny(), 0)


@pytest.fixture
def model(tensors) -> DAM:
    return converted(tiny(), tensors)


@pytest.fixture
def face(rng):
    """Vertices in mm and an average texture, one of each."""
    vertices = rng.normal(0, 60, (1, 35, 3)).astype(np.float32)
    texture = rng.uniform(0.1, 1, (1, 64, 64, 3)).astype(np.float32)
    return jnp.asarray(vertices), jnp.asarray(texture)


@pytest.fixture
def code(rng):
    """z and a unit view vector, a batch of three."""
    view = rng.normal(size=(3, 3))
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    z = rng.normal(size=(3, 12))
    return jnp.asarray(z, jnp.float32), jnp.asarray(view, jnp.float32)


def test_without_a_key_z_is_the_mean(model, face):
    posterior = run(model, "encode", *face)
    assert (posterior.z() == posterior.mean).all()
    view = jnp.asarray([[0.0, 0.0, 1.0]])
    output = run(model, "__call__", *face, view)
    np.testing.assert_array_equal(
        output.vertices, run(model, "decode_vertices", posterior.mean)
    )
    sampled = run(model, "__call__", *face, view, key=jax.random.key(0))
    assert not np.allclose(sampled.vertices, output.vertices)


def test_samples_have_the_posterior_s_moments():
    mean, log_std = jnp.asarray([[2.0, -1.0]]), jnp.log(jnp.asarray([[0.5, 3.0]]))
    posterior = Posterior(mean, log_std)
    samples = jax.vmap(posterior.z)(jax.random.split(jax.random.key(1), 20_000))[:, 0]
    np.testing.assert_allclose(samples.mean(0), [2.0, -1.0], atol=0.1)
    np.testing.assert_allclose(samples.std(0), [0.5, 3.0], rtol=0.03)


def test_each_sample_of_a_batch_is_decoded_alone(model, code):
    z, view = code
    together = run(model, "decode", z, view)
    alone = run(model, "decode", z[1:2], view[1:2])
    np.testing.assert_allclose(together.vertices[1:2], alone.vertices, atol=1e-4)
    np.testing.assert_allclose(together.texture[1:2], alone.texture, atol=1e-5)


def test_mesh_does_not_depend_on_the_view_and_texture_does(model, code):
    z, view = code
    front, side = run(model, "decode", z, view), run(model, "decode", z, view[::-1])
    np.testing.assert_array_equal(front.vertices, side.vertices)
    assert np.abs(front.texture[0] - side.texture[0]).max() > 1e-2


def test_colour_correction_is_per_camera(model, tensors, code):
    """Scale and bias of KRT's camera k on normalised colours; 0 is the anchor."""
    z, view = code
    plain = np.asarray(run(model, "decode_texture", z, view))
    camera = jnp.asarray([0, 1, 3])
    corrected = run(model, "decode_texture", z, view, camera)
    mean = tensors["tex_mean.png"] / 255
    std = np.sqrt(tensors["tex_var.txt"]) / 255
    for index, row in enumerate(camera):
        scale, bias = np.ones(3), np.zeros(3)
        if row > 0:
            scale = tensors["cc.weight"][row - 1].reshape(3)
            bias = tensors["cc.bias"][row - 1].reshape(3)
        expected = ((plain[index] - mean) / std * scale + bias) * std + mean
        np.testing.assert_allclose(corrected[index], expected, atol=1e-5)


@pytest.mark.parametrize("unknown", [-1, -2, 4, 1000])
def test_unknown_camera_leaves_colours_alone(model, code, unknown):
    z, view = code
    texture = run(model, "decode_texture", z, view, jnp.full(3, unknown))
    np.testing.assert_array_equal(texture, run(model, "decode_texture", z, view))


def test_anchor_is_not_trained(model, code):
    z, view = code
    graph, trained, rest = split_trained(model)

    def brightness(trained):
        model = nnx.merge(graph, trained, rest)
        return jnp.sum(model.decode_texture(z, view, jnp.asarray([0, 1, 2])))

    gradient = jax.jit(jax.grad(brightness))(trained)["colour"]
    for name in ("scale", "bias"):
        rows = np.abs(gradient[name][...]).max(1)
        assert rows[0] == rows[3] == 0, "the anchor, and a camera not in the batch"
        assert (rows[1:3] > 0).all()


def test_a_single_camera_needs_no_colour_correction(code):
    config = tiny(cameras=1)
    model = converted(config, random_tensors(config, 0) | random_statistics(config, 0))
    texture = run(model, "decode_texture", *code, jnp.asarray([0, 0, -1]))
    np.testing.assert_array_equal(texture, run(model, "decode_texture", *code))


def test_statistics_are_stored_and_not_trained(model):
    _, trained, rest = split_trained(model)
    assert "statistics" not in trained
    assert set(rest) == {"statistics"}


def test_statistics_carry_units(model, code, face):
    """In metres instead of mm: the decoded mesh is in metres, z is the same."""
    before = run(model, "decode_vertices", code[0])
    z = run(model, "encode", *face).mean
    mean, variance = model.statistics.vert_mean[...], model.statistics.vert_var[...]
    model.statistics.set(vert_mean=mean / 1000, vert_var=variance / 1000**2)
    np.testing.assert_allclose(
        run(model, "decode_vertices", code[0]) * 1000, before, atol=1e-3
    )
    metres = face[0] / 1000, face[1]
    np.testing.assert_allclose(run(model, "encode", *metres).mean, z, atol=1e-4)


def test_unseen_texels_carry_nothing(model, face):
    """Texels no camera saw are 0 in the file, whatever the mean says there."""
    vertices, texture = face
    texture = texture.at[:, 10:20].set(0)
    z = run(model, "encode", vertices, texture).mean
    mean = model.statistics.tex_mean[...]
    model.statistics.set(tex_mean=mean.at[10:20].add(0.5))
    np.testing.assert_array_equal(run(model, "encode", vertices, texture).mean, z)
    model.statistics.set(tex_mean=mean.at[20:30].add(0.5))
    assert not np.allclose(run(model, "encode", vertices, texture).mean, z)


def test_statistics_of_another_mesh_are_refused(model):
    with pytest.raises(InputError, match=r"vert_mean: .* \(35, 3\), got \(36, 3\)"):
        model.statistics.set(vert_mean=np.zeros((36, 3)))


@pytest.mark.parametrize("variant", ["base", "warp"])
def test_gradient_by_z_equals_finite_differences(variant, rng):
    """Ours in float32 against central differences of PyTorch's in float64."""
    config = tiny(variant, texture_size=32)
    tensors = random_tensors(config, 3)
    statistics = {n: np.ones_like(v) for n, v in random_statistics(config, 3).items()}
    model = converted(config, tensors | statistics)
    reference = TorchDAM(config, *texture_plan(32)).double()
    reference.load_state_dict({n: torch.from_numpy(v) for n, v in tensors.items()})
    z, view = rng.normal(size=(1, 12)), np.array([[0.6, 0.0, 0.8]])
    mesh_weight = rng.normal(size=(1, 35, 3))
    texture_weight = rng.normal(size=(1, 32, 32, 3))
    camera = np.array([2])

    def peer(z):
        with torch.no_grad():
            texture, vertices = reference.decode(
                torch.from_numpy(z), torch.from_numpy(view), torch.from_numpy(camera)
            )
        texture = texture.numpy().transpose(0, 2, 3, 1) / 255
        return np.sum(vertices.numpy() * mesh_weight) + np.sum(texture * texture_weight)

    @jax.jit
    @jax.grad
    def gradient(z):
        face = model.decode(z, jnp.asarray(view, jnp.float32), jnp.asarray(camera))
        mesh = jnp.sum(face.vertices * jnp.asarray(mesh_weight, jnp.float32))
        return mesh + jnp.sum(face.texture * jnp.asarray(texture_weight, jnp.float32))

    step = 1e-6
    differences = [
        (peer(z + step * unit) - peer(z - step * unit)) / (2 * step)
        for unit in np.eye(12)[:, None]
    ]
    ours = gradient(jnp.asarray(z, jnp.float32))[0]
    scale = np.abs(differences).max()
    np.testing.assert_allclose(ours, differences, atol=2e-3 * scale)


@pytest.mark.parametrize(
    ("size", "plan"), [(1024, (4, 4)), (512, (2, 4)), (256, (4, 3)), (8, (2, 1))]
)
def test_texture_plan(size, plan):
    assert texture_plan(size) == plan


@pytest.mark.parametrize("size", [0, 4, 96, 1000, 2048])
def test_other_texture_sizes_are_refused(size):
    with pytest.raises(InputError, match="power of two from 8 to 1024"):
        DAM(DAMConfig(texture_size=size), rngs=nnx.Rngs(0))


def test_paper_has_the_published_number_of_parameters():
    """Counted by PyTorch over its own module: nothing is left out or made twice."""
    config = DAMConfig(cameras=38)
    model = nnx.eval_shape(lambda: DAM(config, rngs=nnx.Rngs(0)))
    _, trained, _ = split_trained(model)
    ours = sum(leaf.size for leaf in jax.tree.leaves(trained))
    with torch.device("meta"):
        theirs = sum(p.numel() for p in TorchDAM(config, 4, 4).parameters())
    assert ours == theirs


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_smaller_texture_has_the_means_of_the_texels(variant, rng):
    config = tiny(variant)
    tensors = random_tensors(config, 3) | random_statistics(config, 3)
    model = converted(config, tensors)
    z = rng.normal(size=(3, config.z_size)).astype(np.float32)
    view = rng.normal(size=(3, 3)).astype(np.float32)
    camera = jnp.asarray([0, 1, -1])
    side = config.texture_size
    texture = np.float64(run(model, "decode_texture", z, view, camera))
    for size in (side, side // 2, side // 4):
        smaller = nnx.jit(partial(DAM.decode_texture, size=size))
        ours = smaller(model, z, view, camera)
        blocks = texture.reshape(3, size, side // size, size, side // size, 3)
        np.testing.assert_allclose(ours, blocks.mean((2, 4)), atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_texture_difference_is_that_of_two_textures(variant, rng):
    config = tiny(variant)
    tensors = random_tensors(config, 3) | random_statistics(config, 3)
    model = converted(config, tensors)
    z, other_z = rng.normal(size=(2, 2, config.z_size)).astype(np.float32)
    view, other_view = rng.normal(size=(2, 2, 3)).astype(np.float32)
    ours = run(model, "texture_difference", z, view, other_z, other_view)
    texture = run(model, "decode_texture", z, view)
    other = run(model, "decode_texture", other_z, other_view)
    difference = np.float64(texture) - np.float64(other)
    assert np.abs(ours - difference).max() < 1e-5 * np.abs(texture).max()
    assert np.abs(difference).max() > 0.01
