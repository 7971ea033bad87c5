# SPDX-License-Identifier: Apache-2.0
"""The self-supervised terms on a face with one expression: each moves what it should.

The decoder is a bumpy half egg that widens with z and has a known texture; the
pictures are rendered from it, in another light and colour than the texture's.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from i2z_jax.geometry.camera import fit_change, project_weak, view_from_head
from i2z_jax.geometry.mesh_arrays import mesh_arrays
from i2z_jax.geometry.render import render
from i2z_jax.models.dam import DAM
from i2z_jax.models.heatmaps import Landmarks
from i2z_jax.models.i2znet import I2ZOutput
from i2z_jax.objectives.adapt import (
    ZPrior,
    adaptation_terms,
    deinterleaved,
    observe,
)
from i2z_jax.objectives.face_mesh import FaceMesh
from i2z_jax.objectives.landmark_distance import projected_landmarks
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
        mesh_arrays(topology, TEXTURE),
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
            lambda i: observe(truth, dam, i, mesh, FAR).face.equations()
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
            ZPrior(jnp.zeros(1), jnp.ones(1)), image_size=SIZE,
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
        if name == "landmarks" and what.startswith("z"):
            continue  # of FL the mesh has a gradient of its own, see below
        slope = (above[name] - below[name]) / (2 * h)
        # Texels come and go at the silhouette, which a gradient does not see.
        scale = abs(float(term)) + 1e-3
        np.testing.assert_allclose(slopes[name], slope, atol=0.15 * scale)


CHANGES = {
    "scale": [0.0002, 0, 0, 0, 0, 0],
    "roll": [0, 0, 0, 0.03, 0, 0],
    "yaw": [0, 0, 0.03, 0, 0, 0],
    "pitch": [0, 0.03, 0, 0, 0, 0],
    "shift": [0, 0, 0, 0, 0.05, -0.03],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_what_the_camera_does_is_not_the_meshs_to_learn(clip, change):
    """Though the pose is wrong, z is led to the truth, and so is the pose."""
    gradients = jax.grad(lambda z, p: clip.terms(z, p)["landmarks"], (0, 1))
    turned = jnp.tile(jnp.asarray([change], jnp.float32), (4, 1))
    for off in (0.2, -0.2):
        of_z, of_pose = gradients(jnp.full((4, 1), off), turned)
        assert (of_z * off > 0).all()
        assert (jnp.sum(of_pose * turned, -1) > 0).all()


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_the_cameras_part_is_all_of_what_a_pose_does(rng, change):
    points = rng.normal(0, 60, (3, 68, 3))
    pose = np.tile(np.float64(POSE), (3, 1))
    pose[:, 1:4] = rng.normal(0, 0.3, (3, 3))
    moved = project_weak(pose + 0.01 * np.array(change), points)
    moved = (moved - project_weak(pose, points))[..., :2]
    seen = jnp.float32(np.einsum("bij,blj->bli", view_from_head(pose), points))
    weight = jnp.asarray(rng.uniform(0.5, 1, (3, 68)), jnp.float32)
    found = fit_change(seen, jnp.float32(moved), weight).moved(seen)
    np.testing.assert_allclose(found, moved, atol=0.02 * np.abs(moved).max())
    noise = jnp.float32(rng.normal(size=moved.shape))
    left = noise - fit_change(seen, noise, weight).moved(seen)
    again = fit_change(seen, left, weight).moved(seen)
    np.testing.assert_allclose(again, 0, atol=1e-3)


def test_the_meshs_gradient_is_that_of_what_is_left(clip, mesh):
    """Against central differences in NumPy, float64: distances after the best change
    of the camera, which is fitted once."""
    pose = np.float64(clip.pose) + np.array([0, 0.02, -0.03, 0.01, 0.02, 0.01])
    detected = np.float64(clip.detected.points)
    weights = np.float64(HEAD.topology.landmark_barycentric)[None, ..., None]

    def marks(amount):
        vertices = np.float64(clip.dam.decode_vertices(clip.z + amount))
        corners = vertices[:, HEAD.topology.faces[HEAD.topology.landmark_faces]]
        return (corners * weights).sum(-2)

    def missing(amount):
        pixels = (project_weak(pose, marks(amount))[..., :2] + 1) * SIZE / 2
        return detected - pixels

    at, h = 0.3, 0.02
    seen = marks(at) @ view_from_head(pose).swapaxes(1, 2)
    x, y, depth = np.moveaxis(seen, -1, 0)
    one, zero = np.ones_like(x), np.zeros_like(x)
    basis = np.array(
        [[x, y], [-y, x], [depth, zero], [zero, depth], [one, zero], [zero, one]]
    )
    part = np.zeros_like(detected)
    for frame in range(4):
        columns = basis[:, :, frame].transpose(2, 1, 0).reshape(-1, 6)
        fit = np.linalg.lstsq(columns, missing(at)[frame].ravel(), rcond=None)[0]
        part[frame] = (columns @ fit).reshape(-1, 2)

    def distance(amount):
        left = np.linalg.norm(missing(amount) - part, axis=-1)
        return left.mean() * 256 / SIZE

    off = jnp.float32(pose) - clip.pose
    found = jax.grad(lambda a: clip.terms(jnp.full((4, 1), a), off)["landmarks"])(at)
    expected = (distance(at + h) - distance(at - h)) / (2 * h)
    np.testing.assert_allclose(found, expected, rtol=0.05)


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


@pytest.fixture(scope="module")
def truth(clip, mesh):
    """The clip's frames, seen through the right prediction."""
    right = I2ZOutput(clip.z, clip.pose, None)
    look = jax.jit(lambda image: observe(right, clip.dam, image, mesh, FAR))
    return look(clip.image)


@pytest.fixture(scope="module")
def terms_of(clip, mesh):
    """The terms of an observation, and of what a detector saw."""

    @jax.jit
    def terms(seen, detected=clip.detected, face=mesh):
        return adaptation_terms(
            seen, clip.z, detected, clip.equations, face,
            ZPrior(jnp.zeros(1), jnp.ones(1)), image_size=SIZE,
        )  # fmt: skip

    return terms


def test_a_detectors_bias_is_no_error(clip, mesh, truth, terms_of):
    """Landmarks that are marked 4 mm beside the mesh's, and known to be."""
    offset = jnp.tile(jnp.asarray([[4.0, 0.0, 1.0]]), (68, 1))
    biased = mesh._replace(landmark_offset=offset)
    vertices = clip.dam.decode_vertices(clip.z)
    marked = projected_landmarks(vertices, clip.pose, biased, FAR, SIZE)
    moved = np.linalg.norm(np.float64(marked - clip.detected.points), axis=-1)
    expected = 4 * POSE[0] * SIZE / 2
    assert abs(np.median(moved) - expected) < 0.1 * expected
    right = I2ZOutput(clip.z, clip.pose, None)
    seen = jax.jit(lambda i: observe(right, clip.dam, i, biased, FAR))(clip.image)
    marks = clip.detected._replace(points=marked)
    assert terms_of(seen, marks, biased)["landmarks"] < 1e-3
    assert terms_of(truth, marks)["landmarks"] > 1


@pytest.mark.parametrize("who", ["the mesh", "the detector"])
def test_distrusted_landmarks_say_nothing(truth, terms_of, clip, mesh, who):
    """Half of them, which are far off: known for a capture, or said for each frame."""
    trust = jnp.r_[jnp.zeros(34), jnp.full(34, 2.0)]
    wrong = clip.detected._replace(points=clip.detected.points.at[:, :34].add(20.0))
    assert terms_of(truth, wrong)["landmarks"] > 1
    if who == "the mesh":
        mesh = mesh._replace(landmark_trust=trust)
    else:
        wrong = wrong._replace(confidence=jnp.tile(trust, (4, 1)) / 2)
    assert terms_of(truth, wrong, mesh)["landmarks"] < 1e-3


@pytest.mark.parametrize("of_pair", [0, 1], ids=["first", "second"])
def test_frames_are_compared_where_both_show_the_face(truth, terms_of, of_pair):
    """One frame of each pair is covered on the left, and that is known or not."""
    covered = (jnp.arange(4) % 2 == of_pair)[:, None, None] & (
        jnp.arange(TEXTURE)[None, None] < TEXTURE // 2
    )
    unknown = truth._replace(
        observed=jnp.where(covered[..., None], 0.9, truth.observed)
    )
    known = unknown._replace(visible=jnp.where(covered, 0.0, truth.visible))
    assert terms_of(known)["consistency"] < 0.01
    assert terms_of(unknown)["consistency"] > 0.1


def test_the_exposure_of_a_frame_is_no_error(truth, terms_of):
    gain = jnp.asarray([1.0, 0.7, 1.2, 0.9])[:, None, None, None]
    other = truth.face._replace(observed=gain * truth.face.observed)
    assert terms_of(truth._replace(face=other))["appearance"] < 0.01


def test_differences_count_at_three_sizes(truth, terms_of):
    """What is alternately lighter and darker is nothing at half the size."""
    i = jnp.arange(TEXTURE)
    alternating = (-1.0) ** (i[:, None] + i[None])
    sign = jnp.asarray([1.0, -1.0, 1.0, -1.0])[:, None, None, None]
    for pattern, share in ((jnp.ones_like(alternating), 1), (alternating, 1 / 3)):
        seen = truth._replace(
            observed=0.5
            + 0.1 * sign * jnp.tile(pattern[None, ..., None], (4, 1, 1, 3)),
            visible=jnp.ones_like(truth.visible),
        )
        expected = share * (np.hypot(0.2, 0.01) - 0.01)
        # At the border the pattern is repeated.
        np.testing.assert_allclose(terms_of(seen)["consistency"], expected, rtol=0.05)


def test_of_pairs_the_first_may_be_decoded_alone(clip, mesh):
    """MOTC is then that of the first frames, and says nothing of the others."""

    def appearance(z, pose, image, every):
        wrong = I2ZOutput(z + 0.4, pose, None)
        seen = observe(wrong, clip.dam, image, mesh, FAR, decode_every=every)
        detected = Landmarks(jnp.zeros((len(z), 68, 2)), jnp.ones((len(z), 68)))
        terms = adaptation_terms(
            seen, z, detected, clip.equations, mesh,
            ZPrior(jnp.zeros(1), jnp.ones(1)), image_size=SIZE,
        )  # fmt: skip
        return terms["appearance"]

    slope = jax.jit(jax.value_and_grad(appearance), static_argnames="every")
    halved, of_halved = slope(clip.z, clip.pose, clip.image, every=2)
    first, of_first = slope(*(x[::2] for x in (clip.z, clip.pose, clip.image)), every=1)
    np.testing.assert_allclose(halved, first, rtol=1e-5)
    np.testing.assert_allclose(of_halved[::2], of_first, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(of_halved[1::2], 0)
    assert np.abs(of_first).min() > 0


def test_a_frame_and_the_next_are_taken_apart():
    now, then = deinterleaved(jnp.arange(6.0), 2)
    np.testing.assert_array_equal(now, [0, 2, 4])
    np.testing.assert_array_equal(then, [1, 3, 5])
