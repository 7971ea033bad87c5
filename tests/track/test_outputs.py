# SPDX-License-Identifier: Apache-2.0
"""What `i2z track` leaves behind: values, overlay and mesh say the same."""

import csv
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import trimesh
from pxr import Usd, UsdGeom
from scipy.spatial.transform import Rotation

from i2z_jax.errors import InputError
from i2z_jax.geometry import topology as topologies
from i2z_jax.report.overlay import BACKGROUND, Overlay
from i2z_jax.stopwatch import Stopwatch
from i2z_jax.system import load_system
from i2z_jax.track import result
from i2z_jax.track.networks import Networks
from tests.report.glb_reader import Glb


@pytest.fixture(scope="module")
def values(tracked):
    with np.load(tracked.folder / "track.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def overlay(tracked):
    with av.open(str(tracked.folder / "overlay.mp4")) as container:
        frames = list(container.decode(video=0))
    times = np.array([float(f.time) for f in frames])
    return np.stack([f.to_ndarray(format="rgb24") for f in frames]), times


def seen_from(distance_mm: float, points: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """Points in camera axes as a near camera sees them, but for what H says already.

    To first order perspective moves a point by -depth xy / distance; of that, scale,
    roll, tilt by depth and shift, by least squares over the mesh, are a weak camera's
    own. As complex numbers x + iy, scale and roll are one factor.
    """
    flat, depth = mesh[:, 0] + 1j * mesh[:, 1], mesh[:, 2]
    design = np.stack([flat, depth, np.ones_like(depth)], axis=-1)
    turn, tilt, shift = np.linalg.lstsq(design, -depth * flat, rcond=None)[0]
    flat, depth = points[:, 0] + 1j * points[:, 1], points[:, 2]
    near = flat * (1 - turn / distance_mm) / (1 + depth / distance_mm)
    near = near - (tilt * depth + shift) / distance_mm
    return np.stack([near.real, near.imag], axis=-1)


def projected(values, distance_mm: float, points=None) -> np.ndarray:
    """The file's own camera string, in other words: SciPy turns, the map is solved."""
    result = []
    mesh = values["vertices"].astype(float)
    for pose, points_mm, vertices, crop in zip(
        values["pose"].astype(float),
        mesh if points is None else points,
        mesh,
        values["crop_from_image"],
        strict=True,
    ):
        turn = Rotation.from_euler("xyz", pose[1:4]).as_matrix() @ np.diag([1, -1, -1])
        near = seen_from(distance_mm, points_mm @ turn.T, vertices @ turn.T)
        unit = pose[0] * near + pose[4:6]
        pixels = (unit + 1) / 2 * values["crop_size"]
        result.append(np.linalg.solve(crop[:, :2], (pixels - crop[:, 2]).T).T)
    return np.stack(result)


def test_values_are_complete_and_plain(tracked, values):
    frames = len(tracked.pictures)
    assert bool(values["complete"])
    assert values["frame_size"].tolist() == [160, 120]
    assert float(values["distance_mm"]) == 550
    names = values["status_names"][values["status"]]
    assert names.tolist() == ["tracked"] * frames
    np.testing.assert_allclose(values["time_s"], tracked.times, atol=1e-3)
    for name in ("z", "pose", "landmarks", "vertices", "mesh_landmarks"):
        assert len(values[name]) == frames
        assert np.isfinite(values[name]).all(), name
    # The box of the file is what the crop was framed by: it is inside the crop.
    crop, size = values["crop_from_image"], int(values["crop_size"])
    for corner in (values["box"][:, :2], values["box"][:, 2:]):
        inside = np.einsum("fij,fj->fi", crop[:, :, :2], corner) + crop[:, :, 2]
        assert (inside > -0.3 * size).all()
        assert (inside < 1.3 * size).all()


def test_values_recreate_the_overlay(tracked, values, overlay):
    images, _ = overlay
    assert len(images) == len(tracked.pictures)
    for row, points in enumerate(projected(values, 550.0)):
        expected = np.zeros((120, 160), np.uint8)
        for triangle in points[values["faces"]]:
            fixed = np.round((triangle - 0.5) * 256).astype(np.int32)
            cv2.fillConvexPoly(expected, fixed, 1, shift=8)
        right = images[row, :, 160:].astype(int)
        drawn = np.abs(right - BACKGROUND).max(axis=-1) > 40
        both, either = (drawn & (expected > 0)).sum(), (drawn | (expected > 0)).sum()
        assert both / either > 0.93, row


def test_the_overlay_is_drawn_as_from_the_cameras_distance(tracked, values):
    """At 150 mm the outline is another one than from afar, and it is that one."""
    track = replace(result.load(tracked.folder / "track.npz"), distance_mm=150.0)
    system, row = load_system(tracked.checkpoint), 10
    overlay = Overlay(Networks(system, 4, Stopwatch()), track, None)
    (image,) = overlay.frames([(row, tracked.pictures[row])])
    drawn = np.abs(image[:, 160:].astype(int) - BACKGROUND).max(axis=-1) > 40
    apart = []
    for distance in (150.0, np.inf):
        outline = np.zeros((120, 160), np.uint8)
        for triangle in projected(values, distance)[row][values["faces"]]:
            fixed = np.round((triangle - 0.5) * 256).astype(np.int32)
            cv2.fillConvexPoly(outline, fixed, 1, shift=8)
        apart.append((drawn != (outline > 0)).sum())
    assert apart[0] < 0.5 * apart[1]


def test_landmarks_are_drawn_where_the_values_say(tracked, values, overlay):
    images, _ = overlay
    row = 10
    points = values["mesh_landmarks"][row].round().astype(int)
    points = points[(points > 2).all(axis=1) & (points < [157, 117]).all(axis=1)]
    assert len(points) > 30
    change = images[row, :, :160].astype(int) - tracked.pictures[row]
    at = change[points[:, 1] - 1, points[:, 0] - 1]
    elsewhere = np.abs(change[:20, -40:]).mean()
    assert np.abs(at).max(axis=-1).mean() > 10 * max(elsewhere, 1)


def test_overlay_plays_at_the_videos_times(tracked, overlay):
    np.testing.assert_allclose(overlay[1], tracked.times, atol=2e-3)


@pytest.fixture(scope="module")
def glb(tracked):
    return Glb((tracked.folder / "mesh.glb").read_bytes())


@pytest.fixture(scope="module")
def blended(tracked):
    return Glb((tracked.folder / "blendshapes.glb").read_bytes())


def test_blend_shapes_are_named_and_state_their_distance(blended, values):
    (mesh,) = blended.json["meshes"]
    assert mesh["extras"]["targetNames"] == ["across", "along"]
    truth = values["vertices"][:, values["faces"].reshape(-1)]
    error = np.linalg.norm(1000 * morphed(blended) - truth, axis=-1)
    stated = blended.json["asset"]["extras"]["vertex_error_mm"]
    assert error.max() == pytest.approx(stated["worst"], rel=1e-3)


def test_the_table_has_the_weights_of_the_animation(tracked, blended):
    with (tracked.folder / "blendshapes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["frame", "time_s", "error_mm", "across", "along"]
    assert [int(row["frame"]) for row in rows] == list(range(len(tracked.pictures)))
    times, weights = blended.animation()["weights"]
    table = np.array([[float(row[k]) for k in ("across", "along")] for row in rows])
    np.testing.assert_allclose(table, weights.reshape(-1, 2), atol=1e-5)
    first = float(rows[0]["time_s"])
    np.testing.assert_allclose([float(r["time_s"]) - first for r in rows], times)
    stated = blended.json["asset"]["extras"]["vertex_error_mm"]["mean"]
    mean = np.mean([float(row["error_mm"]) for row in rows])
    assert mean == pytest.approx(stated, abs=1e-4)


def morphed(glb: Glb) -> np.ndarray:
    """Corners of all triangles at all keys, metres."""
    primitive = glb.json["meshes"][0]["primitives"][0]
    corners = glb.array(primitive["indices"])[:, 0]
    base = glb.array(primitive["attributes"]["POSITION"])
    targets = np.stack([glb.array(t["POSITION"]) for t in primitive["targets"]])
    times, weights = glb.animation()["weights"]
    weights = weights.reshape(len(times), len(targets))
    assert np.abs(weights).max() <= 1 + 1e-6
    shapes = base[None] + np.tensordot(weights, targets, axes=1)
    return shapes[:, corners]


def test_glb_reproduces_the_vertices_within_its_bound(glb, values):
    truth = values["vertices"][:, values["faces"].reshape(-1)]
    error = np.linalg.norm(1000 * morphed(glb) - truth, axis=-1)
    stated = glb.json["asset"]["extras"]["vertex_error_mm"]
    assert error.max() <= stated["worst"] + 1e-3
    assert stated["worst"] < 0.11
    # The sequence moves by far more than the bound.
    assert np.ptp(truth, axis=0).max() > 5 * stated["worst"]


def test_glb_plays_at_the_videos_times(glb, tracked):
    for times, _ in glb.animation().values():
        np.testing.assert_allclose(times, tracked.times, atol=1e-3)


def test_glb_seen_by_its_camera_is_the_overlay_from_afar(glb, values):
    animation = {name: v for name, (_, v) in glb.animation().items()}
    lens = glb.json["cameras"][0]["orthographic"]
    half = np.array([lens["xmag"], lens["ymag"]])
    np.testing.assert_allclose(half[0] / half[1], 160 / 120, rtol=1e-6)
    shapes, truth = morphed(glb), projected(values, np.inf)
    for row, (turn, place, size) in enumerate(
        zip(
            animation["rotation"],
            animation["translation"],
            animation["scale"],
            strict=True,
        )
    ):
        world = Rotation.from_quat(turn).apply(shapes[row] * size) + place
        pixels = (world[:, :2] / half * [1, -1] + 1) / 2 * [160, 120]
        expected = truth[row, values["faces"].reshape(-1)]
        np.testing.assert_allclose(pixels, expected, atol=0.1)


def test_glb_opens_in_another_reader(tracked, values):
    scene = trimesh.load(tracked.folder / "mesh.glb")
    (mesh,) = scene.geometry.values()
    assert len(mesh.faces) == len(values["faces"])
    texture = mesh.visual.material.baseColorTexture
    assert texture.size == (32, 32)
    assert mesh.visual.uv.min() >= 0
    assert mesh.visual.uv.max() <= 1


@pytest.fixture(scope="module")
def stage(tracked):
    return Usd.Stage.Open(str(tracked.folder / "mesh.usdz"))


def test_usd_has_the_decoded_vertices_at_the_videos_times(stage, tracked, values):
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/track/head/face"))
    points, faces = mesh.GetPointsAttr(), mesh.GetFaceVertexIndicesAttr().Get()
    np.testing.assert_array_equal(faces, values["faces"].reshape(-1))
    codes = points.GetTimeSamples()
    assert stage.GetTimeCodesPerSecond() == pytest.approx(25)
    np.testing.assert_allclose(np.array(codes) / 25, tracked.times, atol=0.05 / 25)
    for code, vertices in zip(codes, values["vertices"], strict=True):
        np.testing.assert_array_equal(points.Get(code), vertices)


def test_usd_seen_by_its_camera_is_the_overlay_from_afar(stage, values):
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/track/head/face"))
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/track/video"))
    codes = mesh.GetPointsAttr().GetTimeSamples()
    for code, expected in zip(codes, projected(values, np.inf), strict=True):
        lens = camera.GetCamera(code).frustum
        to_picture = (
            mesh.ComputeLocalToWorldTransform(code)
            * lens.ComputeViewMatrix()
            * lens.ComputeProjectionMatrix()
        )
        points = np.array(mesh.GetPointsAttr().Get(code), float)
        seen = np.pad(points, [(0, 0), (0, 1)], constant_values=1) @ to_picture
        assert np.abs(seen[:, 2]).max() < 1  # between near and far
        pixels = (seen[:, :2] * [1, -1] + 1) / 2 * [160, 120]
        np.testing.assert_allclose(pixels, expected, atol=1e-3)


def test_mesh_sequence_has_the_vertices(tracked, values):
    files = sorted((tracked.folder / "meshes").glob("*.ply"))
    assert [f.stem for f in files] == [f"{i:06d}" for i in range(len(tracked.pictures))]
    mesh = trimesh.load(files[7], process=False)
    np.testing.assert_array_equal(mesh.vertices.astype("f4"), values["vertices"][7])
    np.testing.assert_array_equal(mesh.faces, values["faces"])


def test_what_is_left(tracked):
    names = {p.name for p in tracked.folder.iterdir()}
    usual = {"track.npz", "overlay.mp4", "mesh.glb", "report.html"}
    asked = {"meshes", "blendshapes.csv", "blendshapes.glb", "mesh.usdz"}
    assert names == usual | asked | {"work"}


def test_landmarks_are_projected_as_from_the_cameras_distance(tracked, values):
    topology = topologies.load(tracked.checkpoint / "topology.npz")
    corners = values["vertices"][:, topology.faces[topology.landmark_faces]]
    points = (corners * topology.landmark_barycentric[..., None]).sum(2)
    for distance, agrees in ((550.0, True), (np.inf, False)):
        difference = projected(values, distance, points) - values["mesh_landmarks"]
        assert (np.abs(difference).max() < 0.01) == agrees, distance


def test_a_track_of_a_later_format_is_refused(tmp_path, values):
    np.savez(tmp_path / "later.npz", **values | {"format": result.FORMAT + 1})
    with pytest.raises(InputError, match="newer i2z_jax"):
        result.load(tmp_path / "later.npz")
