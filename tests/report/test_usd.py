# SPDX-License-Identifier: Apache-2.0
"""What a sequence with holes, cuts and odd times looks like in OpenUSD."""

import dataclasses
import resource
import zipfile

import cv2
import numpy as np
import pytest
from pxr import Usd, UsdGeom, UsdShade, UsdValidation

from i2z_jax.errors import InputError
from i2z_jax.files import write_aside
from i2z_jax.report import usd
from i2z_jax.track.result import Status
from tests.track.tracks import STILL, track
from tests.track.worlds import average, topology

TEXTURE = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)


def faces(count: int) -> np.ndarray:
    """A mesh for each frame, all of them different, mm."""
    growing = np.linspace(1, 1.5, count, dtype=np.float32)[:, None, None]
    return average().astype(np.float32) * growing


def written(folder, value, meshes=None) -> Usd.Stage:
    meshes = faces(int(value.usable.sum())) if meshes is None else meshes
    usd.write_usdz(folder / "mesh.usdz", value, iter(meshes), topology(), TEXTURE)
    assert [path.name for path in folder.iterdir()] == ["mesh.usdz"]
    return Usd.Stage.Open(str(folder / "mesh.usdz"))


def face_of(stage: Usd.Stage) -> UsdGeom.Mesh:
    return UsdGeom.Mesh(stage.GetPrimAtPath("/track/head/face"))


def seen(stage: Usd.Stage, code: float) -> np.ndarray | None:
    """Points in the world as USD shows them at a time code, metres."""
    mesh = face_of(stage)
    if mesh.ComputeVisibility(code) == UsdGeom.Tokens.invisible:
        return None
    points = np.array(mesh.GetPointsAttr().Get(code), float)
    world = np.array(mesh.ComputeLocalToWorldTransform(code))
    return points @ world[:3, :3] + world[3, :3]


def test_points_are_the_decoded_ones_whenever_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(usd, "SAVED", 16)
    meshes = faces(90)
    stage = written(tmp_path, track(STILL), meshes)
    mesh = face_of(stage)
    assert mesh.GetPointsAttr().GetTimeSamples() == list(range(90))
    for frame in range(90):
        points = np.array(mesh.GetPointsAttr().Get(frame))
        np.testing.assert_array_equal(points, meshes[frame])
        box = np.array(mesh.GetExtentAttr().Get(frame))
        np.testing.assert_array_equal(box, [points.min(axis=0), points.max(axis=0)])


def test_frames_without_a_face_are_invisible(tmp_path):
    status = np.zeros(90)
    lost = [0, 1, 2, *range(40, 50), 89]
    status[lost] = Status.LOST
    stage = written(tmp_path, track(STILL, status))
    for frame in range(90):
        assert (seen(stage, frame) is None) == (frame in lost), frame
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, 89)


def test_nothing_slides_from_one_shot_into_the_next(tmp_path):
    """Shots are 10 frames, 1 frame and the rest, whose first frames are lost."""
    shots = np.repeat([0, 1, 2], [10, 1, 19])
    pose = STILL[:30] + shots[:, None] * [0.003, 0.9, 0.5, -1.2, -0.5, 0.4]
    status = np.zeros(30)
    status[11:14] = Status.LOST
    value = track(pose, status, cuts=[10, 11])
    own = faces(3)[shots[value.usable]]
    stage = written(tmp_path, value, own)
    expected = [seen(stage, frame) for frame in (0, 10, 20)]
    assert np.abs(np.diff(expected, axis=0)).max(axis=(1, 2)).min() > 0.02
    for code in np.arange(0, 29, 1 / 16):
        frame = int(code)
        if frame in (11, 12, 13):
            assert seen(stage, code) is None
        else:
            face = expected[shots[frame]]
            np.testing.assert_allclose(seen(stage, code), face, atol=1e-6)


def test_time_codes_are_times_at_the_videos_rate(tmp_path):
    """Times in whole milliseconds; two frames are missing, and one is late."""
    frames = np.delete(np.arange(92), [20, 21])
    times = np.round(5 + frames / 30, 3)
    times[50] += 0.010
    value = dataclasses.replace(track(STILL), time_s=times)
    stage = written(tmp_path, value)
    expected = frames.astype(float)
    expected[50] += 0.3
    codes = face_of(stage).GetPointsAttr().GetTimeSamples()
    np.testing.assert_allclose(codes, expected, atol=1e-9)
    for rate in (stage.GetTimeCodesPerSecond(), stage.GetFramesPerSecond()):
        assert rate == pytest.approx(30, rel=1e-3)


def test_it_holds_to_the_rules_of_openusd(tmp_path):
    status = np.zeros(90)
    status[40:50] = Status.LOST
    stage = written(tmp_path, track(STILL, status, cuts=[60]))
    registry = UsdValidation.ValidationRegistry()
    checks = UsdValidation.ValidationContext(registry.GetOrLoadAllValidators())
    assert [error.GetMessage() for error in checks.Validate(stage)] == []
    assert UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.y
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1


def test_a_picture_is_a_scene_of_one_frame(tmp_path):
    stage = written(tmp_path, track(STILL[:1]))
    assert seen(stage, 0).shape == average().shape
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, 0)


def test_the_texture_is_inside_and_fits_the_uvs(tmp_path):
    stage = written(tmp_path, track(STILL[:2]))
    mesh, shape = face_of(stage), topology()
    material, _ = UsdShade.MaterialBindingAPI(mesh).ComputeBoundMaterial()
    surface, _, _ = material.ComputeSurfaceSource()
    (glow,), _ = surface.GetInput("emissiveColor").GetConnectedSources()
    file = glow.source.GetPrim().GetAttribute("inputs:file").Get().resolvedPath
    package, name = file.removesuffix("]").split("[")
    with zipfile.ZipFile(package) as archive:
        data = np.frombuffer(archive.read(name), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(picture, TEXTURE[::-1])  # v grows upwards
    st = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").ComputeFlattened()
    np.testing.assert_array_equal(st, shape.uvs[shape.uv_faces.reshape(-1)])


def test_more_than_a_usdz_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(usd, "LARGEST", 10_000)
    with pytest.raises(InputError, match=r"too long for a \.usdz"):
        written(tmp_path, track(STILL))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lacking", [100_000, 100], ids=["layer", "package"])
def test_a_disk_that_is_full_leaves_nothing(tmp_path, lacking):
    """USD itself says nothing when the last bytes of the package are lost."""
    written(tmp_path, track(STILL))
    size = (tmp_path / "mesh.usdz").stat().st_size - lacking
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with (
            pytest.raises(InputError, match=r"mesh\.usdz: cannot write"),
            write_aside(tmp_path / "new" / "mesh.usdz") as aside,
        ):
            written(aside.parent, track(STILL))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "new").iterdir()) == []
