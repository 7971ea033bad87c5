# SPDX-License-Identifier: Apache-2.0
"""Weights of blend shapes: of meshes whose weights are known."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from i2z_jax.errors import InputError
from i2z_jax.geometry.blendshapes import BlendShapes, read_blend_shapes
from i2z_jax.geometry.mesh import ObjMesh, write_obj
from i2z_jax.synth.blendshapes import blend_shapes
from i2z_jax.synth.head import ProceduralHead
from i2z_jax.synth.motion import free_weights


@pytest.fixture(scope="module")
def head() -> ProceduralHead:
    return ProceduralHead(size=500)


@pytest.fixture(scope="module")
def shapes(head) -> BlendShapes:
    return blend_shapes(head)


@pytest.fixture
def weights(head, rng) -> np.ndarray:
    return free_weights(24, len(head.expression_names), rng)


def test_weights_of_a_head_that_is_not_linear_are_found(head, shapes, weights):
    """Its lids and jaw turn, and `look` of left and right cancel each other."""
    found = shapes.fit(head.vertices(weights))
    assert np.abs(found - weights).mean() < 0.03
    jaw = shapes.names.index("jawOpen")
    np.testing.assert_allclose(found[:, jaw], weights[:, jaw], atol=0.1)
    assert found.min() >= 0
    assert found.max() <= 1


def test_no_other_weights_are_nearer(rng):
    """Against another solver, with what it costs written out."""
    moves = rng.normal(size=(5, 30, 3))
    set_ = BlendShapes(tuple("abcde"), np.zeros((30, 3)), moves)
    target = rng.normal(size=(30, 3)) + moves[0] * 3 - moves[1] + 0.4 * moves[2]

    def cost(w):
        shape = np.tensordot(w, moves, axes=1)
        strength = (w**2 * (moves**2).sum((1, 2))).sum()
        return ((shape - target) ** 2).sum() + 1e-3 * strength

    best = minimize(cost, np.full(5, 0.5), bounds=[(0, 1)] * 5, tol=1e-12)
    (found,) = set_.fit(target[None])
    np.testing.assert_allclose(found, best.x, atol=1e-4)
    assert found[0] == 1
    assert found[1] == 0
    assert 0 < found[2] < 1


def test_a_set_may_lie_anywhere_in_any_unit(shapes, weights):
    """Centimetres, turned and shifted: the same weights."""
    turn = Rotation.from_euler("xyz", [0.3, -0.5, 1.0]).as_matrix()
    foreign = BlendShapes(
        shapes.names,
        0.1 * shapes.neutral @ turn.T + [5.0, 6.0, 7.0],
        0.1 * shapes.moves @ turn.T,
    )
    meshes = shapes.meshes(weights)
    placed = foreign.placed_on(meshes)
    assert np.linalg.norm(placed.neutral - shapes.neutral, axis=1).max() < 0.1
    again = placed.meshes(placed.fit(meshes))
    assert np.linalg.norm(again - meshes, axis=-1).mean() < 0.05


def test_shapes_without_an_effect_get_no_weight(folder):
    """Nor what their file's rounding moves."""
    (folder / "wink.obj").write_text("v 0.00001 0 0\nv 1 0 0\nv 0 1 0\n")
    shapes = read_blend_shapes(folder, FACE)
    assert shapes.names == ("jawOpen", "wink")
    assert shapes.still == ("wink",)
    (found,) = shapes.fit(shapes.neutral[None] + [[0.1, 0, 1]])
    assert found[1] == 0
    assert found[0] > 0.1


# A triangle, in mm.
FACE = np.array([[0.0, 0, 0], [1000, 0, 0], [0, 1000, 0]])


@pytest.fixture
def folder(tmp_path):
    """A triangle at rest in metres, and with a corner up by 2."""
    for name, up in (("Neutral", 0), ("jawOpen", 2)):
        vertices = np.array([[0, 0, up], [1, 0, 0], [0, 1, 0]], np.float32)
        faces = np.array([[0, 1, 2]], np.int32)
        mesh = ObjMesh(vertices, vertices[:, :2], faces, faces)
        write_obj(tmp_path / f"{name}.obj", mesh)
    return tmp_path


def test_a_folder_is_read_with_or_without_uvs(folder):
    text = (folder / "jawOpen.obj").read_text()
    (folder / "smile.obj").write_text(text.split("vt")[0] + "f 1 2 3\n")
    (folder / "shapes.png").write_bytes(b"not one")
    shapes = read_blend_shapes(folder, FACE)
    assert shapes.names == ("jawOpen", "smile")
    np.testing.assert_array_equal(shapes.neutral, [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    expected = [[0, 0, 2], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(shapes.moves, [expected, expected])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: (p / "Neutral.obj").unlink(), "not a set of blend shapes.*1 .obj"),
        (lambda p: (p / "jawOpen.obj").unlink(), "not a set of blend shapes"),
        (lambda p: (p / "jawOpen.obj").write_text("f 1 2 3"), "no vertices"),
        (lambda p: (p / "jawOpen.obj").write_text("v 1 2\n"), "jawOpen.obj:1.*read"),
        (lambda p: (p / "jawOpen.obj").write_text("v 1 2 nan\n"), "not finite"),
        (
            lambda p: (p / "jawOpen.obj").write_text("v 1 2 3\n" * 4),
            "another number of vertices.*expected 3.*got 4",
        ),
        (
            lambda p: (p / "Neutral.obj").write_text("v 1 0 0\nv 0 0 0\nv 4 1 0\n"),
            "Neutral.obj: not the tracker's face.*vertex order kept",
        ),
    ],
)
def test_what_is_no_set_is_refused(folder, spoil, message):
    spoil(folder)
    with pytest.raises(InputError, match=message):
        read_blend_shapes(folder, FACE)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_blend_shapes(tmp_path / "none", FACE)
