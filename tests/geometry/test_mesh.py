# SPDX-License-Identifier: Apache-2.0
"""Mesh files against trimesh and by hand; normals against what a sphere knows."""

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from i2z_jax.errors import InputError
from i2z_jax.geometry.mesh import (
    ObjMesh,
    face_normals,
    read_obj,
    vertex_normals,
    write_obj,
)
from tests.geometry.shapes import plane, sphere


def write(folder, text):
    path = folder / "mesh.obj"
    path.write_text(text)
    return path


def cylinder_obj():
    """A rolled sheet: its closing edge has one vertex but two UVs. Quads."""
    lines = []
    for row in range(3):
        for column in range(5):
            angle = column * 2 * np.pi / 5
            lines.append(f"v {np.cos(angle):.6f} {row} {np.sin(angle):.6f}")
    lines += [f"vt {c / 5} {r / 2}" for r in range(3) for c in range(6)]
    lines += ["vn 0 1 0", "usemtl skin", "# a remark"]
    for row in range(2):
        for column in range(5):
            corners = [(row, column), (row, column + 1), (row + 1, column + 1),
                       (row + 1, column)]  # fmt: skip
            lines.append(
                "f "
                + " ".join(f"{r * 5 + c % 5 + 1}/{r * 6 + c + 1}/1" for r, c in corners)
            )
    return "\n".join(lines)


def test_corners_agree_with_trimesh(tmp_path):
    path = write(tmp_path, cylinder_obj())
    mesh = read_obj(path)
    assert [len(part) for part in mesh] == [15, 18, 20, 20]
    # trimesh splits vertices at the seam; the corners of its triangles do not care.
    other = trimesh.load(path, process=False)
    ours = np.concatenate([mesh.vertices[mesh.faces], mesh.uvs[mesh.uv_faces]], axis=-1)
    theirs = np.concatenate(
        [other.vertices[other.faces], other.visual.uv[other.faces]], axis=-1
    )

    # A quad may be cut along either diagonal: compare the corners in use.
    def used(triangles):
        return np.unique(triangles.reshape(-1, 5).round(5), axis=0)

    np.testing.assert_allclose(used(ours), used(theirs), atol=1e-5)
    assert len(ours) == len(theirs)


def test_vertex_order_negative_indices_and_forward_references(tmp_path):
    mesh = read_obj(
        write(
            tmp_path,
            "v 9 0 0\nv 0 0 0\nv 0 9 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
            "f -3/-3 -2/-2 -1/-1\nf 1/1 2/2 4/3\nv 1 2 3 0.5 0.5 0.5\n",
        )
    )
    np.testing.assert_array_equal(
        mesh.vertices, [[9, 0, 0], [0, 0, 0], [0, 9, 0], [1, 2, 3]]
    )
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 1, 3]])
    np.testing.assert_array_equal(mesh.uv_faces, [[0, 1, 2], [0, 1, 2]])


def test_polygon_becomes_a_fan(tmp_path):
    corners = "".join(f"v {i} {i * i} 0\nvt 0 {i}\n" for i in range(5))
    mesh = read_obj(write(tmp_path, corners + "f 1/1 2/2 3/3 4/4 5/5\n"))
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 2, 3], [0, 3, 4]])


CORNERS = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
UVS = "vt 0 0\nvt 1 0\nvt 0 1\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CORNERS + "f 1 2 3\n", r"mesh.obj:4: face without UV coordinates.*got 1\)"),
        (CORNERS + "f 1//1 2//1 3//1\n", "face without UV"),
        (CORNERS + UVS + "f 1/1 2/2 7/3\n", "vertices the file.*1 to 3, got 7"),
        (CORNERS + UVS + "f 1/1 2/2 3/9\n", "UVs the file does not.*1 to 3, got 9"),
        (CORNERS + UVS + "f 1/1 2/2 -4/3\n", "mesh.obj:7: index out of range.*got -4"),
        (CORNERS + UVS + "f 0/1 2/2 3/3\n", "index out of range.*got 0"),
        ("v 0 nan 0\n" + CORNERS + UVS + "f 1/1 2/2 3/3\n", "vertex 1 is not finite"),
        (CORNERS + UVS + "vt inf 0\nf 1/1 2/2 3/3\n", "UV 4 is not finite"),
        (CORNERS + "v 1 two 3\n", "mesh.obj:4: cannot read the line 'v 1 two 3'"),
        (CORNERS + UVS + "f 1/1 2/2\n", "mesh.obj:7: cannot read the line"),
        (CORNERS + UVS, "no faces"),
        ("solid stl\n", "no vertices"),
    ],
)  # fmt: skip
def test_bad_obj_is_one_clear_line(tmp_path, text, says):
    with pytest.raises(InputError, match=says) as raised:
        read_obj(write(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"absent\.obj: cannot read"):
        read_obj(tmp_path / "absent.obj")


def test_obj_round_trip(tmp_path, rng):
    grid, faces = plane(4, 3)
    mesh = ObjMesh(
        rng.normal(0, 100, (len(grid), 3)).astype(np.float32),
        rng.random((len(grid), 2)).astype(np.float32),
        faces,
        faces[:, [0, 1, 2]],
    )
    write_obj(tmp_path / "out.obj", mesh)
    for before, after in zip(mesh, read_obj(tmp_path / "out.obj"), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("namespace", [np, jnp], ids=["numpy", "jax"])
def test_normals_of_a_sphere_point_outward(namespace):
    vertices, faces = sphere(48, 32)
    given = namespace.asarray(vertices * 50 + [1, 2, 3], dtype=namespace.float32)
    normals = vertex_normals(given, faces)
    assert isinstance(normals, type(given))
    cosine = np.sum(np.asarray(normals) * vertices, axis=-1)
    assert cosine.min() > 0.99
    flat = np.asarray(face_normals(given, faces))
    centre = vertices[faces].mean(axis=1)
    cosine = np.sum(flat * centre, axis=-1) / np.linalg.norm(centre, axis=-1)
    assert cosine.min() > 0.99


def test_normals_of_a_batch_and_of_nothing():
    vertices, faces = sphere(8, 6)
    batch = np.stack([vertices, -vertices])
    normals = vertex_normals(batch, faces)
    np.testing.assert_allclose(normals[0], vertex_normals(vertices, faces))
    np.testing.assert_allclose(normals[1], normals[0], atol=1e-12)
    assert (face_normals(np.zeros((3, 3)), np.array([[0, 1, 2]])) == 0).all()
