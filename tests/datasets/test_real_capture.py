# SPDX-License-Identifier: Apache-2.0
"""A real Multiface frame through the builder: mesh, topology and texture as they are.

Its head pose and the photo's camera are not published, so the head is put in front of
one of the real cameras and the photo stands for what that camera saw.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from i2z_jax.data import images, records
from i2z_jax.data import multiface as mf
from i2z_jax.data.build_multiview import build
from i2z_jax.data.build_options import BuildOptions, MultiviewOptions
from i2z_jax.data.krt import read_krt
from i2z_jax.geometry import topology

SHARED = Path(
    os.environ.get("I2Z_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")
)
SOURCE = SHARED / "multiface_frame"
pytestmark = pytest.mark.skipif(not SOURCE.is_dir(), reason="no shared data folder")


@pytest.fixture
def capture(tmp_path):
    layout = mf.Layout(tmp_path / "capture")
    frame = mf.Frame("E001_Neutral", "021924")
    layout.root.mkdir()
    shutil.copy(SOURCE / "KRT", layout.krt)
    name, camera = next(iter(read_krt(layout.krt).items()))
    # A metre in front of the camera, looking into it.
    rotation, shift = camera.camera_from_world[:, :3], camera.camera_from_world[:, 3]
    facing = rotation.T @ np.diag([1.0, -1.0, -1.0])
    place = rotation.T @ (np.array([0.0, 0.0, 1000.0]) - shift)
    for path, original in (
        (layout.mesh(frame), "021924.bin"),
        (layout.image(frame, name), "021924.png"),
        (layout.texture(frame), "021924_avgtex.png"),
    ):
        path.parent.mkdir(parents=True)
        shutil.copy(SOURCE / original, path)
    mf.write_transform(layout.transform(frame), np.column_stack([facing, place]))
    texture = mf.read_texture(SOURCE / "021924_avgtex.png").astype(np.float32)
    vertices = mf.read_vertices(SOURCE / "021924.bin")
    mf.write_statistics(layout, mf.Statistics(texture, 400.0, vertices, 1.0))
    mf.write_frame_list(layout.frame_list, [frame])
    return layout, name


def test_a_real_frame(capture, tmp_path):
    layout, name = capture
    options = MultiviewOptions(
        texture_codec="png",
        view_textures=False,
        cameras=(name,),
        topology=SOURCE / "face_topology.obj",
    )
    summary = build((layout.root,), tmp_path, BuildOptions(), options)
    assert summary.gaps == []
    frame = records.open_frames(tmp_path)[0]
    mesh = np.fromfile(SOURCE / "021924.bin", "<f4").reshape(7306, 3)
    np.testing.assert_array_equal(frame["vertices"], mesh)
    average = records.open_frames(tmp_path, "frame_textures")[0]
    assert average["texture"] == (SOURCE / "021924_avgtex.png").read_bytes()
    assert images.decode_texture(average).shape == (1024, 1024, 3)
    stored = tmp_path / "multiview_capture" / "sources" / "0" / "topology.npz"
    face = topology.load(stored)
    assert (face.vertex_count, len(face.uvs), len(face.faces)) == (7306, 5779, 11432)
    # Multiface ships no landmarks; its mesh gets those of its texture chart.
    marks = topology.landmark_points(face, mesh)
    across = np.linalg.norm(marks[36] - marks[45])
    assert 80 < across < 105  # outer eye corners of an adult, mm
    assert np.linalg.norm(marks[30] - mesh[np.argmax(mesh[:, 2])]) < 8  # the nose's tip
    assert set(face.regions) == {"eyes", "mouth", "jaw"}
    views = records.open_split(tmp_path, "multiview_capture", "train", config="views")
    # Looking straight into the camera from a metre: no rotation, and a residual of a
    # few pixels of perspective.
    view = views[0]
    np.testing.assert_allclose(view["pose"][1:4], 0, atol=0.12)
    assert 0 < view["pose_residual_px"] < 6
    np.testing.assert_allclose(view["view"], [0, 0, 1], atol=1e-6)


def test_the_texture_lies_on_the_mesh_the_right_way_up():
    """Nostrils and lids are dark, the forehead is not: a flipped v would swap them."""
    vertices = mf.read_vertices(SOURCE / "021924.bin")
    face = topology.load(SOURCE / "face_topology.obj")
    texture = mf.read_texture(SOURCE / "021924_avgtex.png").astype(float).mean(axis=-1)
    texel = np.clip((face.uvs * 1024).astype(int), 0, 1023)
    shade = np.zeros(7306)
    shade[face.faces] = texture[texel[:, 1], texel[:, 0]][face.uv_faces]
    front = vertices[:, 2] > 0
    x, y = vertices[:, 0], vertices[:, 1]
    forehead = front & (np.abs(x) < 30) & (y > 75) & (y < 110)
    eyes = front & (np.abs(np.abs(x) - 33) < 15) & (y > 25) & (y < 60)
    assert forehead.sum() > 20
    assert eyes.sum() > 20
    assert np.median(shade[forehead]) > 1.15 * np.median(shade[eyes])
