# SPDX-License-Identifier: Apache-2.0
"""Objectives of the supervised stages: zeros at the truth, units, and who is moved."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from i2z_jax.models.dam import DAM
from i2z_jax.models.i2znet import I2ZOutput
from i2z_jax.objectives.dam import DAMWeights, dam_objective
from i2z_jax.objectives.landmarks import landmarks_objective, normalised_mean_error
from i2z_jax.objectives.regress import RegressWeights, regress_objective
from i2z_jax.presets import TINY

SIZE = 64
TEXTURE = 32
ALL = {"z": 1, "vertices": 1, "texture": 1, "reprojection": 1, "pose": 1}


@pytest.fixture(scope="module")
def dam():
    config = replace(TINY.dam, vertices=50, texture_size=TEXTURE, cameras=3)
    return DAM(config, rngs=nnx.Rngs(0))


@pytest.fixture
def batch(rng, dam):
    z = jnp.asarray(rng.normal(size=(4, 32)), jnp.float32)
    pose = np.tile(np.float32([[0.01, 0, 0, 0, 0, 0]]), (4, 1))
    pose[:, 1:] += rng.normal(size=(4, 5)) * 0.1
    return {
        "z": z,
        "pose": jnp.asarray(pose),
        "vertices": dam.decode_vertices(z),
    }


def regress(prediction, dam, batch, **weights):
    off = dict.fromkeys(ALL, 0.0)
    weights = RegressWeights(**{**off, **{k: float(v) for k, v in weights.items()}})
    return regress_objective(
        prediction,
        dam,
        batch,
        weights=weights,
        pose_std=jnp.full(6, 0.1),
        texel_weight=jnp.ones((TEXTURE, TEXTURE)),
        image_size=SIZE,
    )


def test_the_truth_costs_nothing(dam, batch):
    perfect = I2ZOutput(batch["z"], batch["pose"], None)
    loss, terms = regress(perfect, dam, batch, **ALL)
    assert set(terms) == set(ALL)
    np.testing.assert_allclose(loss, 0, atol=1e-6)


def test_without_texel_weights_all_texels_count_the_same(dam, batch):
    off = I2ZOutput(batch["z"] + 0.5, batch["pose"], None)

    def texture(**given):
        return regress_objective(
            off,
            dam,
            batch,
            weights=RegressWeights(),
            pose_std=jnp.full(6, 0.1),
            image_size=SIZE,
            **given,
        )[1]["texture"]

    even = texture(texel_weight=jnp.full((TEXTURE, TEXTURE), 3.0))
    np.testing.assert_allclose(texture(), even, rtol=1e-6)
    assert even > 0


def test_terms_have_the_units_they_claim(dam, batch):
    shifted = batch["pose"].at[:, 4].add(2 / SIZE * 3)  # 3 px to the right
    _, terms = regress(I2ZOutput(batch["z"] + 2, shifted, None), dam, batch, **ALL)
    np.testing.assert_allclose(terms["reprojection"], 3, rtol=1e-4)
    np.testing.assert_allclose(terms["z"], 4, rtol=1e-5)
    np.testing.assert_allclose(terms["pose"], (6 / SIZE / 0.1) ** 2 / 6, rtol=1e-4)
    decoded = np.float64(dam.decode_vertices(batch["z"] + 2))
    distance = np.linalg.norm(decoded - np.float64(batch["vertices"]), axis=-1)
    np.testing.assert_allclose(terms["vertices"], distance.mean(), rtol=1e-4)


@pytest.mark.parametrize(
    ("term", "moves_z", "moves_pose"),
    [
        ("z", True, False),
        ("vertices", True, False),
        ("texture", True, True),  # the view is the predicted pose's
        ("reprojection", False, True),
        ("pose", False, True),
    ],
)
def test_each_term_moves_what_it_should_and_downhill(
    dam, batch, rng, term, moves_z, moves_pose
):
    wrong = I2ZOutput(
        batch["z"] + jnp.asarray(rng.normal(size=(4, 32)) * 0.3, jnp.float32),
        batch["pose"] + jnp.asarray(rng.normal(size=(4, 6)) * 0.05, jnp.float32)
        * jnp.asarray([[0.01, 1, 1, 1, 1, 1]]),
        None,
    )  # fmt: skip

    def cost(prediction):
        return regress(prediction, dam, batch, **{term: 1})[0]

    loss, gradient = jax.value_and_grad(cost)(wrong)
    assert (np.abs(gradient.z).max() > 0) == moves_z
    assert (np.abs(gradient.pose).max() > 0) == moves_pose
    size = sum(float(jnp.sum(g**2)) for g in (gradient.z, gradient.pose))
    step = 1e-3 * float(loss) / size
    better = jax.tree.map(lambda x, g: x - step * g, wrong, gradient)
    assert cost(better) < loss


def test_dam_compares_what_a_camera_saw_and_beside_it_what_others_did(dam, rng):
    b = 2
    texture = rng.integers(1, 256, (b, TEXTURE, TEXTURE, 3)).astype(np.uint8)
    average, unseen = texture.copy(), texture.copy()
    average[:, :4], unseen[:, :10] = 0, 0
    batch = {
        "vertices": jnp.asarray(rng.normal(size=(b, 50, 3)), jnp.float32),
        "average_texture": jnp.asarray(average),
        "texture": jnp.asarray(unseen),
        "view": jnp.tile(jnp.asarray([[0.0, 0.0, 1.0]]), (b, 1)),
        "camera": jnp.zeros(b, jnp.int32),
    }

    def run(texel_weight):
        return dam_objective(
            dam,
            batch,
            jax.random.key(0),
            weights=DAMWeights(),
            texel_weight=jnp.asarray(texel_weight, jnp.float32),
        )

    weight = np.ones((TEXTURE, TEXTURE))
    loss, terms = run(weight)
    vertices, view, camera = (batch[name] for name in ("vertices", "view", "camera"))
    given = vertices, jnp.float32(average) / 255, view, camera
    said = np.float64(dam(*given, key=jax.random.key(0)).texture)
    squares = (said - np.float64(texture) / 255) ** 2
    np.testing.assert_allclose(terms["texture"], squares[:, 10:].mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["unseen"], squares[:, 4:10].mean(), rtol=1e-5)
    rest = loss - terms["vertices"] - terms["texture"] - 0.01 * terms["kl"]
    np.testing.assert_allclose(rest, 0.1 * terms["unseen"], rtol=1e-3)
    weight[:10] = 0
    _, masked = run(weight)
    np.testing.assert_allclose(terms["texture"], masked["texture"], rtol=1e-6)
    np.testing.assert_allclose(
        terms["texture_psnr"], -10 * np.log10(float(terms["texture"])), rtol=1e-4
    )  # tex_var is 1 here


def test_nme_is_over_the_outer_eye_corners(rng):
    truth = rng.uniform(0, SIZE, (3, 68, 2)).astype(np.float32)
    truth[:, 36], truth[:, 45] = [10, 20], [40, 60]  # 50 px apart
    points = truth + np.float32([3, 4])
    error = normalised_mean_error(jnp.asarray(points), jnp.asarray(truth))
    np.testing.assert_allclose(error, 5 / 50, rtol=1e-4)


def test_painting_the_target_costs_nothing_and_finds_the_points(rng):
    landmarks = rng.uniform(8, SIZE - 8, (2, 68, 2)).astype(np.float32)
    cells = (np.arange(SIZE // 4) + 0.5) * 4
    bell = np.exp(-((landmarks[..., None] - cells) ** 2) / (2 * 4.0**2))
    maps = np.einsum("blj,bli->bijl", bell[:, :, 0], bell[:, :, 1])

    class Painter:
        def __call__(self, image):
            return [jnp.asarray(maps, jnp.float32)]

    batch = {
        "image": jnp.zeros((2, SIZE, SIZE, 3), jnp.uint8),
        "landmarks": jnp.asarray(landmarks),
    }
    loss, metrics = landmarks_objective(Painter(), batch)
    np.testing.assert_allclose(loss, 0, atol=8e-3)  # points within 0.001 of a cell
    assert metrics["nme"] < 0.01


def test_landmark_loss_is_that_of_its_formula():
    # One landmark beside its place by less than a cell, one by four cells, one outside.
    truth = np.full((1, 68, 2), 20.0)
    seen = truth + np.array([2.0, -1.0])
    seen[0, 1] = truth[0, 1] + [16.0, 0.0]
    truth[0, 2] = [-3.0, 20.0]
    cells = np.arange(SIZE // 4) + 0.5

    def bells(points, height):
        x, y = (np.exp(-((points[0, :, None, k] / 4 - cells) ** 2) / 2) for k in (0, 1))
        return height * np.einsum("li,lj->ijl", y, x)

    painted, target = bells(seen, 0.8), bells(truth, 1.0)
    target[..., 2] = 0

    class Painter:
        def __call__(self, image):
            return [jnp.asarray(painted[None], jnp.float32)]

    batch = {
        "image": jnp.zeros((1, SIZE, SIZE, 3), jnp.uint8),
        "landmarks": jnp.asarray(truth, jnp.float32),
    }
    loss, _ = landmarks_objective(Painter(), batch)
    squares = ((1 + 10 * target) * (painted - target) ** 2).sum((0, 1))
    beside = np.full(68, np.hypot(2, 1) / 4)
    beside[1], beside[2] = 3, 0  # as far as is seen; not in the picture
    np.testing.assert_allclose(loss, (squares + 8 * beside).mean(), rtol=1e-3)
