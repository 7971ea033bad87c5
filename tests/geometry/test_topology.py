# SPDX-License-Identifier: Apache-2.0
"""Topology files, texels on the mesh, seams and landmarks."""

import dataclasses
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.data.multiface import read_vertices
from i2z_jax.errors import InputError
from i2z_jax.geometry.topology import (
    Topology,
    landmark_points,
    load,
    save,
    texel_map,
)
from tests.geometry.shapes import plane


def two_charts():
    """A 3 x 2 sheet whose two columns of cells lie apart in the texture."""
    grid, faces = plane(3, 2)
    uvs = np.array(
        [[0.1, 0.1], [0.4, 0.1], [0.1, 0.9], [0.4, 0.9],
         [0.6, 0.1], [0.9, 0.1], [0.6, 0.9], [0.9, 0.9]], np.float32
    )  # fmt: skip
    left = {0: 0, 1: 1, 3: 2, 4: 3}
    right = {1: 4, 2: 5, 4: 6, 5: 7}
    chart = [left if set(face) <= set(left) else right for face in faces.tolist()]
    uv_faces = np.array(
        [[names[v] for v in face] for names, face in zip(chart, faces, strict=True)],
        np.int32,
    )
    return Topology(
        faces,
        uvs,
        uv_faces,
        vertex_count=len(grid),
        regions={"mouth": np.arange(6) < 2},
        landmark_faces=np.arange(68, dtype=np.int32) % len(faces),
        landmark_barycentric=np.full((68, 3), 1 / 3, np.float32),
    )


def test_texels_lie_where_their_uv_says():
    topology = two_charts()
    texels = texel_map(topology, 40, gutter=0)
    v, u = np.meshgrid(*[(np.arange(40) + 0.5) / 40] * 2, indexing="ij")
    inside = (v > 0.1) & (v < 0.9) & (
        ((u > 0.1) & (u < 0.4)) | ((u > 0.6) & (u < 0.9))
    )  # fmt: skip
    np.testing.assert_array_equal(texels.triangle >= 0, inside)
    corners = topology.uvs[topology.uv_faces[texels.triangle]]
    place = (corners * texels.barycentric[..., None]).sum(axis=-2)
    np.testing.assert_allclose(place[inside], np.stack([u, v], -1)[inside], atol=1e-5)
    assert (texels.barycentric[~inside] == 0).all()


def test_gutter_repeats_the_nearest_texel_and_no_more():
    topology = two_charts()
    exact = texel_map(topology, 40, gutter=0)
    texels = texel_map(topology, 40, gutter=2)
    inside = exact.triangle >= 0
    for wide, narrow in zip(texels, exact, strict=True):
        np.testing.assert_array_equal(wide[inside], narrow[inside])
    rows = np.flatnonzero(inside[:, 8])
    above = rows[0] - 1
    assert texels.triangle[above, 8] == exact.triangle[rows[0], 8]
    np.testing.assert_array_equal(
        texels.barycentric[above, 8], exact.barycentric[rows[0], 8]
    )
    assert texels.triangle[rows[0] - 2, 8] >= 0 > texels.triangle[rows[0] - 3, 8]
    assert texel_map(topology, 40, gutter=2) is texels


@pytest.mark.parametrize("namespace", [np, jnp], ids=["numpy", "jax"])
def test_landmark_points(namespace, rng):
    topology = two_charts()
    vertices = rng.normal(size=(4, 6, 3)).astype(np.float32)
    points = landmark_points(topology, namespace.asarray(vertices))
    assert points.shape == (4, 68, 3)
    expected = vertices[2][topology.faces[5 % len(topology.faces)]].mean(axis=0)
    np.testing.assert_allclose(points[2, 5], expected, rtol=1e-5, atol=1e-6)


def test_no_landmark_map_is_said():
    bare = dataclasses.replace(
        two_charts(), landmark_faces=None, landmark_barycentric=None
    )
    with pytest.raises(InputError, match="no landmark map"):
        landmark_points(bare, np.zeros((6, 3)))


def test_round_trip(tmp_path):
    topology = two_charts()
    path = tmp_path / "topology.npz"
    save(path, topology)
    back = load(path)
    for name in ("faces", "uvs", "uv_faces", "landmark_faces", "landmark_barycentric"):
        np.testing.assert_array_equal(getattr(back, name), getattr(topology, name))
    assert back.vertex_count == 6
    assert list(back.regions) == ["mouth"]
    np.testing.assert_array_equal(back.regions["mouth"], topology.regions["mouth"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"faces": np.full((4, 3), 6, np.int32)}, "faces out of range.*0 to 5"),
        ({"uv_faces": np.zeros((2, 3), np.int32)}, "uv_faces has another shape"),
        ({"uvs": np.zeros((8, 3), np.float32)}, "uvs has another shape"),
        ({"regions": {"jaw": np.ones(5, bool)}}, "region jaw has another shape"),
        ({"landmark_faces": None}, "both faces and weights"),
        ({"landmark_faces": np.full(68, 9, np.int32)}, "landmark_faces out of range"),
    ],
)
def test_what_does_not_fit_is_refused(change, says):
    with pytest.raises(InputError, match=says):
        dataclasses.replace(two_charts(), **change)


def test_files_that_are_no_topology(tmp_path):
    path = tmp_path / "topology.npz"
    path.write_bytes(b"not a zip")
    with pytest.raises(InputError, match=r"read as a topology \(no .npz file\)"):
        load(path)
    np.savez(path, faces=np.zeros((1, 3), np.int32))
    with pytest.raises(InputError, match="has no array 'uvs'"):
        load(path)
    np.savez(path, faces=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="cannot be read as a topology"):
        load(path)  # a pickle inside is refused, not run


@pytest.mark.full
def test_the_multiface_mesh():
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("I2Z_SHARED_DATA", default)) / "multiface_frame"
    if not folder.exists():
        pytest.skip("the shared Multiface frame is not here")
    topology = load(folder / "face_topology.obj")
    assert topology.vertex_count == 7306
    assert topology.uvs.shape == (5779, 2)
    assert topology.faces.shape == topology.uv_faces.shape == (11432, 3)
    vertices = read_vertices(folder / "021924.bin", count=topology.vertex_count)
    texels = texel_map(topology, 256)
    # Symmetric by layout: a texel and its mirror image lie on opposite sides.
    corners = vertices[topology.faces[texels.triangle]]
    place = (corners * texels.barycentric[..., None]).sum(axis=-2)
    used = (texels.triangle >= 0) & (texels.triangle[:, ::-1] >= 0)
    assert used.mean() > 0.9
    mirrored = place[:, ::-1] * [-1, 1, 1]
    assert np.median(np.linalg.norm(place - mirrored, axis=-1)[used]) < 6
