# SPDX-License-Identifier: Apache-2.0
"""The self-supervised terms on a face with one expression: each moves what it should.

The decoder is a bumpy half egg that widens with z and has a known texture; the
pictures are rendered from it, in another light and colour than the texture's.
"""

from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.render import render
from i2z_jax.geometry.topology import texel_map
from i2z_jax.models.dam import DAM
from i2z_jax.models.heatmaps import Landmarks
from i2z_jax.models.i2znet import I2ZOutput
from i2z_jax.objectives.adapt import (
    AdaptWeights,
    FaceMesh,
    Lab,
    adaptation_terms,
    observe,
    pairs,
    projected_landmarks,
    weighted,
)
from tests.synth.pattern_head import PatternHead

SIZE, TEXTURE = 64, 64
# Of a camera without perspective.
FAR = jnp.zeros(())
HEAD = PatternHead()
WIDEN = 1
# f such that the 210 mm of the head fill most of the crop.
POSE = np.array([0.0085, 0.0, 0.0, 0.0, 0.0, 0.0], np.float32)
# A crop pixel in units of t, and the same on the face in mm.
PIXEL = 2 / SIZE


class OneExpression(DAM):
    """z (b, 1) widens the head; the texture is always the same."""

    def __init__(self, texture):
        self.paint = jnp.asarray(texture)

    def decode_vertices(self, z):
        weights = jnp.zeros((len(z), 3)).at[:, WIDEN].set(z[:, 0])
        return jax.vmap(HEAD.vertices)(weights)

    def decode_texture(self, z, view, camera=None, *, size=None):
        return jnp.broadcast_to(self.paint[None], (len(z), *self.paint.shape))


def smooth_texture(seed):
    noise = np.random.default_rng(seed).normal(size=(TEXTURE, TEXTURE, 3))
    noise = gaussian_filter(noise, (3, 3, 0))
    return np.float32((0.5 + 0.15 * noise / noise.std()).clip(0, 1))


@pytest.fixture(scope="module")
def dam():
    return OneExpression(smooth_texture(1))


@pytest.fixture(scope="module")
def mesh():
    topology = HEAD.topology
    return FaceMesh(
        jnp.asarray(topology.faces),
        jax.tree.map(jnp.asarray, texel_map(topology, TEXTURE)),
        jnp.asarray(topology.landmark_faces),
        jnp.asarray(topology.landmark_barycentric),
        jnp.zeros((68, 3)),
        jnp.ones(68),
        jnp.zeros(68, bool),
    )


class Clip:
    """Four frames: z and pose of each, what a camera saw, what a detector saw."""

    def __init__(self, dam, mesh):
        self.dam, self.mesh = dam, mesh
        self.z = jnp.asarray([[0.0], [0.4], [-0.3], [0.1]])
        pose = np.tile(POSE, (4, 1))
        pose[:, 1:3] += [[0.1, 0.2], [0.1, 0.25], [-0.1, -0.2], [-0.15, -0.2]]
        pose[:, 4:] += np.array([[1, 0], [0, 1], [2, 0], [1, 1]]) * PIXEL
        self.pose = jnp.asarray(pose)
        # Reddish and darker than the capture.
        self.image = jnp.stack(
            [self._picture(z, p) for z, p in zip(self.z, self.pose, strict=True)]
        ) * jnp.asarray([[[[0.9, 0.7, 0.6]]]])
        points = projected_landmarks(
            dam.decode_vertices(self.z), self.pose, mesh, FAR, SIZE
        )
        self.detected = Landmarks(points, jnp.ones((4, 68)))
        # The colours of the video, from frames that were understood.
        truth = I2ZOutput(self.z, self.pose, None)
        self.equations = jax.jit(
            lambda i: observe(truth, dam, i, mesh, FAR).equations()
        )(self.image)
        self.terms = jax.jit(self._terms)

    def _picture(self, z, pose):
        points = project_weak(pose, self.dam.decode_vertices(z[None])[0])
        pixels = (points[:, :2] + 1) * SIZE / 2
        points = jnp.concatenate([pixels, points[:, 2:]], -1)
        draw = jax.jit(render, static_argnames=("topology", "height", "width"))
        image, mask = draw(
            points, self.dam.paint, topology=HEAD.topology, height=SIZE, width=SIZE
        )
        return jnp.where(mask[..., None], image, 0.5)

    def _terms(self, z, pose):
        prediction = I2ZOutput(self.z + z, self.pose + pose, None)
        seen = observe(prediction, self.dam, self.image, self.mesh, FAR)
        return adaptation_terms(
            seen, prediction.z, self.detected, self.equations, self.mesh,
            Lab(jnp.zeros(1), jnp.ones(1)), image_size=SIZE, levels=2,
        )  # fmt: skip


@pytest.fixture(scope="module")
def clip(dam, mesh):
    return Clip(dam, mesh)


# What is wrong, for each of the four frames. CFTC compares frames: only what differs
# within a pair can be seen by it.
WRONG = {
    "one frame of each pair shifted": ("pose", [[0], [1], [0], [1]], 4),
    "one frame of each pair turned": ("pose", [[0], [1], [0], [1]], 2),
    "z of all frames": ("z", [[1], [1], [1], [1]], None),
}
STEPS = {4: 1.5 * PIXEL, 2: 0.06, None: 0.4}
SEES = [
    ("landmarks", "one frame of each pair shifted"),
    ("landmarks", "one frame of each pair turned"),
    ("landmarks", "z of all frames"),
    ("consistency", "one frame of each pair shifted"),
    ("consistency", "one frame of each pair turned"),
    ("appearance", "one frame of each pair shifted"),
    ("appearance", "one frame of each pair turned"),
    ("appearance", "z of all frames"),
]


@pytest.fixture(scope="module")
def along(clip):
    """(what, amount) -> every term, and its slope, as a prediction goes wrong."""

    def terms(amount, z, pose):
        return clip.terms(amount * z, amount * pose)

    slopes = jax.jit(
        lambda a, z, pose: jax.jvp(lambda a: terms(a, z, pose), (a,), (1.0,))
    )

    def at(what, amount):
        kind, frames, axis = WRONG[what]
        off = jnp.asarray(frames, jnp.float32) * STEPS[axis]
        z, pose = jnp.zeros((4, 1)), jnp.zeros((4, 6))
        if kind == "z":
            z = off
        else:
            pose = pose.at[:, axis].set(off[:, 0])
        return slopes(jnp.float32(amount), z, pose)

    return at


@pytest.mark.parametrize(("term", "what"), SEES, ids=lambda x: x)
def test_each_term_alone_leads_back_to_the_truth(along, term, what):
    amount = 1.0
    for step in 0.5 ** np.arange(1, 8):  # bisection on the slope
        amount -= float(np.sign(along(what, amount)[1][term])) * step
    assert abs(amount) < 0.25
    assert along(what, amount)[0][term] < along(what, 1.0)[0][term]
    assert along(what, -1.0)[1][term] < 0


@pytest.mark.parametrize("what", list(WRONG), ids=lambda x: x)
def test_gradients_are_slopes(along, what):
    middle, h = 0.7, 0.02
    terms, slopes = along(what, middle)
    above, below = along(what, middle + h)[0], along(what, middle - h)[0]
    for name, term in terms.items():
        slope = (above[name] - below[name]) / (2 * h)
        # Texels come and go at the silhouette, which a gradient does not see.
        scale = abs(float(term)) + 1e-3
        np.testing.assert_allclose(slopes[name], slope, atol=0.15 * scale)


def test_the_prior_pulls_z_toward_the_lab(clip):
    gradient = jax.grad(lambda z: clip.terms(z, jnp.zeros((4, 6)))["prior"])
    off = jnp.full((4, 1), 2.0)
    assert (gradient(off) > 0).all()
    np.testing.assert_allclose(
        clip.terms(off, jnp.zeros((4, 6)))["prior"],
        np.mean(np.square(np.float64(clip.z) + 2)),
        rtol=1e-5,
    )


def test_no_term_has_anything_to_say_at_the_truth(clip):
    terms = clip.terms(jnp.zeros((4, 1)), jnp.zeros((4, 6)))
    assert terms["landmarks"] < 1e-3
    # Rendered and unwrapped again: interpolation twice, in another colour.
    assert terms["consistency"] < 0.01
    assert terms["appearance"] < 0.01


def test_a_detectors_bias_is_no_error(clip, mesh):
    """Landmarks that are marked 4 mm beside the mesh's, and known to be."""
    offset = jnp.tile(jnp.asarray([[4.0, 0.0, 1.0]]), (68, 1))
    biased = mesh._replace(landmark_offset=offset)
    vertices = clip.dam.decode_vertices(clip.z)
    marked = projected_landmarks(vertices, clip.pose, biased, FAR, SIZE)
    moved = np.linalg.norm(np.float64(marked - clip.detected.points), axis=-1)
    expected = 4 * POSE[0] * SIZE / 2
    assert abs(np.median(moved) - expected) < 0.1 * expected


def test_distrusted_landmarks_say_nothing(clip, mesh):
    wrong = clip.detected.points.at[:, :34].add(20.0)
    blind = mesh._replace(landmark_weight=jnp.r_[jnp.zeros(34), jnp.full(34, 2.0)])
    prediction = I2ZOutput(clip.z, clip.pose, None)
    seen = observe(prediction, clip.dam, clip.image, blind, FAR)
    terms = adaptation_terms(
        seen, clip.z, Landmarks(wrong, clip.detected.confidence), clip.equations,
        blind, Lab(jnp.zeros(1), jnp.ones(1)), image_size=SIZE,
    )  # fmt: skip
    assert terms["landmarks"] < 1e-3


def test_the_loss_is_the_weighted_sum():
    terms = {"landmarks": 2.0, "consistency": 0.1, "appearance": 0.2, "prior": 3.0}
    terms = {name: jnp.asarray(value) for name, value in terms.items()}
    weights = AdaptWeights(landmarks=1.0, consistency=10.0, appearance=5.0, prior=0.5)
    np.testing.assert_allclose(weighted(terms, asdict(weights)), 2 + 1 + 1 + 1.5)


def test_pairs_are_a_frame_and_the_next():
    now, then = pairs(jnp.arange(6.0))
    np.testing.assert_array_equal(now, [0, 2, 4])
    np.testing.assert_array_equal(then, [1, 3, 5])
