# SPDX-License-Identifier: Apache-2.0
"""A scan moves where its expressions say, smoothly, and only the face moves."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from i2z_jax.data import multiface
from i2z_jax.errors import InputError
from i2z_jax.geometry import mesh, topology
from i2z_jax.geometry.topology import landmark_points
from i2z_jax.synth.head import ProceduralHead
from i2z_jax.synth.scan_head import ScanHead, scan_head
from i2z_jax.synth.scan_subject import read_scan_head, scan_subject

EYES = 36, 45


@pytest.fixture(scope="module")
def head() -> ScanHead:
    """The procedural face at rest, taken as if a scanner had delivered it."""
    person = ProceduralHead(size=1500)
    return scan_head(np.asarray(person.neutral, float), person.topology)


def moved(head: ScanHead, **weights: float) -> np.ndarray:
    row = [weights.get(name, 0.0) for name in head.expression_names]
    return np.asarray(head.vertices(jnp.array(row)), float)


def marks(head: ScanHead, **weights: float) -> np.ndarray:
    return landmark_points(head.topology, moved(head, **weights))


def test_neutral_is_the_scan(head):
    np.testing.assert_allclose(moved(head), head.rest, atol=1e-4)
    assert len(head.expression_names) >= 20


def test_the_jaw_takes_chin_and_lower_lip_along(head):
    rest, opened = marks(head), marks(head, jaw_open=1.0)
    drop = rest[:, 1] - opened[:, 1]
    assert drop[8] > 10
    assert drop[66] > 8
    # Upper lip, nose, eyes and brows stay.
    assert np.abs(drop[[62, 51, 33, *EYES, 19, 24]]).max() < 3


def test_left_and_right_are_the_subjects(head):
    rest = marks(head)
    smile = marks(head, smile_left=1.0)
    assert np.linalg.norm(smile[54] - rest[54]) > 4
    assert np.linalg.norm(smile[48] - rest[48]) < 2
    assert rest[54, 0] > 0
    assert marks(head, mouth_left=1.0)[57, 0] > rest[57, 0] + 3


def test_vertices_without_triangles_do_not_take_a_handles_place(head):
    """Multiface's mesh has some around the eyes; lids must move all the same."""
    loose = landmark_points(head.topology, head.rest)
    regions = head.topology.regions.items()
    again = scan_head(
        np.concatenate([head.rest, loose]),
        dataclasses.replace(
            head.topology,
            vertex_count=len(head.rest) + len(loose),
            regions={name: np.append(mask, [False] * 68) for name, mask in regions},
        ),
    )
    np.testing.assert_allclose(again.moves[:, : len(head.rest)], head.moves, atol=1e-3)


def test_the_back_of_the_head_does_not_move(head):
    far = np.min(np.linalg.norm(head.rest[:, None] - marks(head)[None], axis=2), axis=1)
    for move in head.moves:
        assert np.abs(move[far > 60]).max() < 1e-6


def test_skin_stays_smooth(head):
    """Neighbours move alike: no edge of the skin tears or folds wildly."""
    faces = head.topology.faces[~head.mouth_sheet]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    length = np.linalg.norm(head.rest[edges[:, 0]] - head.rest[edges[:, 1]], axis=1)
    for name, move in zip(head.expression_names, head.moves, strict=True):
        change = np.linalg.norm(move[edges[:, 0]] - move[edges[:, 1]], axis=1)
        strain = change[length > 1] / length[length > 1]
        # All but the lips and lids, which part.
        assert np.quantile(strain, 0.95) < 0.6, name


@pytest.fixture
def files(head, tmp_path):
    """Mesh, topology and texture."""
    shape = head.topology
    model = mesh.ObjMesh(
        head.rest.astype(np.float32), shape.uvs, shape.faces, shape.uv_faces
    )
    mesh.write_obj(tmp_path / "scan.obj", model)
    multiface.write_vertices(tmp_path / "scan.bin", head.rest)
    topology.save(tmp_path / "face.npz", shape)
    Image.new("RGB", (64, 64), (90, 60, 50)).save(tmp_path / "tex.png")
    return {
        "mesh": tmp_path / "scan.bin",
        "topology": tmp_path / "face.npz",
        "texture": tmp_path / "tex.png",
    }


def subject_of(mesh, topology, texture):
    return scan_subject(read_scan_head(mesh, topology), texture, 32)


def test_a_scan_from_files(files):
    subject = subject_of(**files)
    texture = subject.shade(jnp.zeros((1500, 3)), jnp.zeros(3), None)
    assert texture.shape == (32, 32, 3)


def test_unusable_scans_say_what_is_wrong(files, tmp_path):
    def refused(says, **changes):
        with pytest.raises(InputError, match=says):
            subject_of(**files | changes)

    refused("needs --topology", topology=None)
    refused("needs --texture", texture=None)
    plain = tmp_path / "plain.obj"
    plain.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    refused("UV", topology=plain)
    refused("no landmark map for this mesh", topology=tmp_path / "scan.obj")
    vertices = multiface.read_vertices(files["mesh"])
    vertices[3] = np.nan
    vertices.tofile(tmp_path / "nan.bin")
    refused("not finite", mesh=tmp_path / "nan.bin")
    (vertices[:-1]).tofile(tmp_path / "short.bin")
    refused("not this topology's vertices", mesh=tmp_path / "short.bin")
    (np.nan_to_num(vertices) / 1000).astype("f4").tofile(tmp_path / "metres.bin")
    refused("not a face in head space", mesh=tmp_path / "metres.bin")
    Image.new("RGB", (64, 32)).save(tmp_path / "wide.png")
    refused("a texture is square", texture=tmp_path / "wide.png")
