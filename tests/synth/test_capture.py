# SPDX-License-Identifier: Apache-2.0
"""The written capture, read by a second reader that knows Multiface's rules only."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2z_jax.data.krt import CalibratedCamera
from i2z_jax.errors import InputError
from i2z_jax.synth.capture import CaptureOptions, write_capture
from i2z_jax.synth.rig import Rig, capture_rig
from i2z_jax.synth.stage import lab_view
from tests.synth.multiface_reader import (
    dot_centre,
    files,
    frames,
    head_pose,
    krt,
    mesh,
    photo,
)
from tests.synth.pattern_head import DOTS, TEXTURE, subject, vertex

OPTIONS = CaptureOptions(frames=6, cameras=3, width=224, height=256, seed=7)


def render(out: Path, options=OPTIONS, **changes) -> int:
    return write_capture(subject(), options, out, origin={}, **changes)


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "capture"
    render(out)
    return out


def test_the_mesh_projects_onto_the_photo(capture):
    cameras, errors = krt(capture), []
    assert len(cameras) == 3
    for segment, frame in frames(capture):
        pose, vertices = (
            head_pose(capture, segment, frame),
            mesh(capture, segment, frame),
        )
        for name, (k, rt) in cameras.items():
            image = photo(capture, "images", segment, name, f"{frame}.png")
            assert image.shape == (256, 224, 3)
            for place, colour in DOTS.items():
                world = pose[:, :3] @ vertices[vertex(*place)] + pose[:, 3]
                x, y, z = k @ (rt[:, :3] @ world + rt[:, 3])
                found = dot_centre(image, colour)
                if found is not None:
                    errors.append(np.linalg.norm(found - [x / z, y / z]))
    assert len(errors) >= 30
    assert np.median(errors) < 0.25
    assert max(errors) < 0.5


def test_textures_are_stored_upside_down(capture):
    segment, frame = frames(capture)[0]
    folder = capture / "unwrapped_uv_1024" / segment
    assert sorted(p.name for p in folder.iterdir()) == [*krt(capture), "average"]
    texture = photo(folder, "average", f"{frame}.png")
    assert texture.shape == (TEXTURE, TEXTURE, 3)
    obj = (capture / f"tracked_mesh/{segment}/{frame}.obj").read_text().split("\n")
    uvs = np.array([line.split()[1:3] for line in obj if line.startswith("vt")], float)
    flipped = texture[::-1]
    for place, colour in DOTS.items():
        column, row = (uvs[vertex(*place)] * TEXTURE).astype(int)
        np.testing.assert_allclose(flipped[row, column], colour, atol=0.2)


def test_texels_a_camera_cannot_see_are_zero(capture):
    """The average is whole; a camera at the side misses the far side."""
    segment, frame = frames(capture)[0]
    folder = capture / "unwrapped_uv_1024" / segment
    average = photo(folder, "average", f"{frame}.png").sum(-1) > 0
    single = [photo(folder, name, f"{frame}.png").sum(-1) > 0 for name in krt(capture)]
    assert (np.any(single, axis=0) == average).mean() > 0.99
    assert all(one.mean() < average.mean() for one in single[1:])
    # The x of what a camera sees is on its own side.
    pose = head_pose(capture, segment, frame)
    for (_, rt), one in zip(krt(capture).values(), single, strict=True):
        position = pose[:, :3].T @ (-rt[:, :3].T @ rt[:, 3] - pose[:, 3])
        balance = one[:, TEXTURE // 2 :].mean() - one[:, : TEXTURE // 2].mean()
        assert abs(position[0]) < 250 or np.sign(balance) == np.sign(position[0])


def test_statistics_are_those_of_the_files(capture):
    textures, meshes = [], []
    for segment, frame in frames(capture):
        folder = f"unwrapped_uv_1024/{segment}/average/{frame}.png"
        textures.append(photo(capture, folder) * 255)
        meshes.append(mesh(capture, segment, frame))
    stored = np.asarray(Image.open(capture / "tex_mean.png")).astype(float)
    np.testing.assert_allclose(stored, np.mean(textures, axis=0), atol=0.51)
    scalar = float((capture / "tex_var.txt").read_text())
    np.testing.assert_allclose(scalar, np.mean(np.var(textures, axis=0)), rtol=1e-6)
    mean = np.fromfile(capture / "vert_mean.bin", "f4").reshape(-1, 3)
    np.testing.assert_allclose(mean, np.mean(meshes, axis=0), atol=1e-4)
    scalar = float((capture / "vert_var.txt").read_text())
    np.testing.assert_allclose(scalar, np.mean(np.var(meshes, axis=0)), rtol=1e-5)


def test_the_rig_is_a_frontal_field_at_a_metre():
    rig = capture_rig(38, np.random.default_rng(0), width=1334, height=2048)
    stage = rig.world_from_stage
    for number, camera in enumerate(rig.cameras.values()):
        r, t = camera.camera_from_world[:, :3], camera.camera_from_world[:, 3]
        np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-12)
        position = stage[:, :3].T @ (-r.T @ t - stage[:, 3])
        assert 950 < np.linalg.norm(position) < 1200
        assert position[2] > 0
        # It looks at the head: the head's origin is near the picture's middle.
        seen = camera.intrinsics @ (r @ stage[:, 3] + t)
        assert np.linalg.norm(seen[:2] / seen[2] - [667, 1024]) < 250
        assert 7000 < camera.intrinsics[0, 0] < 8400
        if number == 0:
            assert position[2] / np.linalg.norm(position) > 0.999
            np.testing.assert_allclose(t, 0, atol=1e-9)


def test_the_lab_view_of_an_expression_is_what_a_capture_holds(capture):
    """A model's z is of this texture: the same way up, the same colours."""
    head, view = subject().head, lab_view(subject(), cameras=3)
    moves = head.moves.reshape(len(head.moves), -1).T
    for segment, frame in frames(capture)[:2]:
        vertices = mesh(capture, segment, frame)
        weights = np.linalg.lstsq(moves, (vertices - head.rest).ravel())[0]
        seen, texture = view(weights)
        np.testing.assert_allclose(seen, vertices, atol=1e-3)
        folder = f"unwrapped_uv_1024/{segment}/average/{frame}.png"
        stored = photo(capture, folder)[::-1]
        difference = np.abs(texture / 255 - stored)
        # Its own stage: other colour gains, and other texels that no camera sees.
        assert np.quantile(difference, 0.97) < 0.06
        assert difference.mean() < 0.02


def test_an_interrupted_run_goes_on_to_the_same_files(capture, tmp_path):
    """A kill leaves frames without their last file, and no frame list."""
    again = tmp_path / "capture"
    shutil.copytree(capture, again)
    whole = files(again)
    (again / "frame_list.txt").unlink()
    for segment, frame in frames(capture)[2:5]:
        (again / f"tracked_mesh/{segment}/{frame}_transform.txt").unlink()
    segment, frame = frames(capture)[3]
    damaged = again / f"images/{segment}/{next(iter(krt(capture)))}/{frame}.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert render(again) == 3
    assert files(again) == whole
    assert render(again) == 0


def test_another_seed_is_another_capture(capture, tmp_path):
    other = CaptureOptions(frames=6, cameras=3, width=224, height=256, seed=8)
    with pytest.raises(InputError, match="begun with other options: seed"):
        render(capture, other)
    render(tmp_path / "other", other)
    assert (tmp_path / "other/KRT").read_text() != (capture / "KRT").read_text()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="already exists"):
        render(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_camera_inside_the_head(tmp_path):
    rig = capture_rig(1, np.random.default_rng(0), width=64, height=64)
    camera = rig.cameras["400001"]
    moved = camera.camera_from_world.copy()
    moved[2, 3] -= 1080
    inside = {"400001": CalibratedCamera(camera.intrinsics, camera.distortion, moved)}
    bad = Rig(inside, rig.gains, rig.world_from_stage)
    with pytest.raises(InputError, match=r"camera 400001: .*inside the head"):
        render(tmp_path / "out", rig=bad)
    assert not (tmp_path / "out/frame_list.txt").exists()
