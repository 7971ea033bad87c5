# SPDX-License-Identifier: Apache-2.0
"""A capture on disk and the records made of it say the same."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from i2z_jax.data import build_multiview, capture_records, images, records
from i2z_jax.data.build_multiview import _cameras, _require_segments, build
from i2z_jax.data.build_options import BuildOptions, MultiviewOptions
from i2z_jax.data.capture_records import _texture, matches
from i2z_jax.data.capture_source import only_source
from i2z_jax.data.capture_topology import topology_of
from i2z_jax.data.krt import write_krt
from i2z_jax.data.multiface import Capture, Frame
from i2z_jax.errors import InputError
from i2z_jax.geometry import multiface_landmarks, topology
from i2z_jax.geometry.camera import project_weak
from tests.data.captures import CAMERAS, TEXTURE, egg_topology, write_capture
from tests.datasets.interrupted import interrupted

NAME = "multiview_capture"
OPTIONS = MultiviewOptions(
    crop_size=128,
    texture_size=TEXTURE,
    image_codec="png",
    texture_codec="png",
    test_cameras=("400002",),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("capture") / "subject")


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("built")
    return out, build((source,), out, BuildOptions(), OPTIONS)


def rows(out, split, config="views"):
    found = records.open_split(out, NAME, split, config=config)
    return [found[i] for i in range(len(found))]


def test_splits_by_segment_and_by_camera(built):
    out, summary = built
    assert summary.gaps == []
    assert [path.name for path in out.iterdir()] == [NAME]  # nothing else is left
    frames = {"train": 6, "test": 3}
    views = {"train": 12, "test": 6, "camera": 6, "test_camera": 3}
    assert summary.counts == {
        "frames": frames, "frame_textures": frames,
        "views": views, "view_textures": views,
    }  # fmt: skip
    assert {r["segment"] for r in rows(out, "test")} == {b"EXP_ROM07"}
    assert {r["camera"] for r in rows(out, "camera+test_camera")} == {2}


def test_frames_equal_the_source_to_the_last_bit(built, source):
    out, _ = built
    capture = Capture(source)
    textures = rows(out, "train+test", "frame_textures")
    for record, texture in zip(
        rows(out, "train+test", "frames"), textures, strict=True
    ):
        frame = Frame(record["segment"].decode(), f"{record['frame']:06d}")
        path = capture.paths.mesh(frame)
        np.testing.assert_array_equal(
            record["vertices"].ravel(), np.fromfile(path, "f4")
        )
        assert texture["texture"] == capture.paths.texture(frame).read_bytes()
        np.testing.assert_array_equal(
            record["world_from_head"],
            np.loadtxt(capture.paths.transform(frame)).astype(np.float32),
        )


def test_view_belongs_to_its_frame_and_camera(built, source):
    out, _ = built
    capture, frames = Capture(source), records.open_frames(out)
    splits = "train+test+camera+test_camera"
    textures = rows(out, splits, "view_textures")
    for record, texture in zip(rows(out, splits), textures, strict=True):
        frame = frames[record["frame_index"]]
        for key in ("segment", "frame", "source"):
            assert frame[key] == record[key]
        moment = Frame(record["segment"].decode(), f"{record['frame']:06d}")
        camera = list(CAMERAS)[record["camera"]]
        path = capture.paths.texture(moment, camera)
        assert texture["texture"] == path.read_bytes()


def test_pose_reprojects_the_mesh_within_the_stored_residual(built, source):
    out, _ = built
    frames = records.open_frames(out)
    for record in rows(out, "train+camera"):
        frame = frames[record["frame_index"]]
        camera = list(CAMERAS.values())[record["camera"]]
        vertices = frame["vertices"].astype(float)
        true, _ = camera.project(frame["world_from_head"].astype(float), vertices)
        affine = record["crop_from_image"].astype(float)
        true = true @ affine[:, :2].T + affine[:, 2]
        weak = project_weak(record["pose"].astype(float), vertices)[:, :2]
        error = np.linalg.norm((weak + 1) / 2 * 128 - true, axis=1)
        rms = np.sqrt(np.mean(error**2))
        assert rms == pytest.approx(record["pose_residual_px"], abs=1e-3)
        assert rms < 3.0  # perspective at 1 m, in a crop of 128 pixels


def test_crop_shows_the_dot_where_the_pose_says(built):
    out, _ = built
    frames = records.open_frames(out)
    for record in rows(out, "train"):
        nose = frames[record["frame_index"]]["vertices"][:1].astype(float)
        weak = project_weak(record["pose"].astype(float), nose)[0, :2]
        seen = images.decode(record["image"]).astype(float)
        redness = seen[..., 0] - seen[..., 1] - 60
        ys, xs = np.nonzero(redness > 100)
        centre = np.array([xs.mean(), ys.mean()]) + 0.5
        expected = (weak + 1) / 2 * 128
        # The nose is where perspective differs most from the weak camera.
        assert np.linalg.norm(centre - expected) < 4 + record["pose_residual_px"]


def test_view_vector_points_at_the_camera(built):
    out, _ = built
    frames = records.open_frames(out)
    for record in rows(out, "train"):
        turn = frames[record["frame_index"]]["world_from_head"].astype(float)
        rigid = list(CAMERAS.values())[record["camera"]].camera_from_world
        centre = np.linalg.solve(rigid[:, :3], -rigid[:, 3])
        ray = turn[:, :3] @ record["view"]  # the head's direction, in the world
        offset = centre - turn[:, 3]
        np.testing.assert_allclose(ray, offset / np.linalg.norm(offset), atol=1e-6)


def damaged(source, tmp_path):
    """The capture with one gap of every kind."""
    root = tmp_path / "damaged"
    shutil.copytree(source, root)
    capture = Capture(root)
    frames = capture.frames
    image = capture.paths.image(frames[0], "400001")
    image.write_bytes(image.read_bytes()[:2000])
    capture.paths.image(frames[1], "400000").unlink()
    capture.paths.texture(frames[2]).unlink()
    capture.paths.mesh(frames[3]).write_bytes(b"\0" * 24)
    capture.paths.texture(frames[4], "400002").write_bytes(b"")
    shutil.rmtree(root / "images" / "EXP_ROM07" / "400002")
    (root / "images" / "E001_Neutral" / "999999").mkdir()
    (root / "images" / "E001_Neutral" / ".DS_Store").touch()  # is no camera
    return root


def test_gaps_are_one_line_each_and_cost_only_themselves(source, tmp_path):
    root = damaged(source, tmp_path)
    summary = build((root,), tmp_path / "out", BuildOptions(), OPTIONS)
    assert len(summary.gaps) == 7
    for name in (
        "EXP_ROM07: no images of camera 400002",
        "E001_Neutral: camera 999999 is not in KRT",
        "E001_Neutral/400001/000012.png",
        "E001_Neutral/400000/000015.png",
        "average/000018.png",
        "E002_Smile/000012.bin",
        "E002_Smile/400002/000015.png",
    ):
        (line,) = [gap for gap in summary.gaps if name in gap]
        assert "\n" not in line
    assert summary.counts["frames"] == {"train": 4, "test": 3}
    assert summary.counts["views"] == {"train": 6, "test": 6, "camera": 3}
    out = tmp_path / "out"
    frames = records.open_frames(out)
    for record in rows(out, "train+test+camera"):
        frame = frames[record["frame_index"]]
        assert (frame["segment"], frame["frame"]) == (
            record["segment"],
            record["frame"],
        )


def test_strict_refuses_what_is_tolerated_otherwise(source, tmp_path):
    root = damaged(source, tmp_path)
    with pytest.raises(InputError, match="camera 999999 is not in KRT"):
        build((root,), tmp_path / "out", BuildOptions(strict=True), OPTIONS)
    with pytest.raises(InputError, match="expected a built multiview_capture"):
        records.open_split(tmp_path / "out", NAME, "train", config="views")


@pytest.fixture
def copied(source, tmp_path):
    return shutil.copytree(source, tmp_path / "subject")


def test_the_same_command_goes_on_once_the_copy_is_whole(copied, tmp_path):
    meshes, elsewhere = copied / "tracked_mesh", tmp_path / "elsewhere"
    meshes.rename(elsewhere)
    with pytest.raises(InputError, match="nothing could be built"):
        build((copied,), tmp_path / "out", BuildOptions(), OPTIONS)
    elsewhere.rename(meshes)
    summary = build((copied,), tmp_path / "out", BuildOptions(), OPTIONS)
    assert summary.gaps == []
    assert sum(summary.counts["views"].values()) == 27


@pytest.mark.parametrize("folder", ["images", "tracked_mesh"])
def test_a_capture_without_one_view_is_not_built(copied, tmp_path, folder):
    shutil.rmtree(copied / folder)
    with pytest.raises(InputError, match="nothing could be built"):
        build((copied,), tmp_path / "out", BuildOptions(), OPTIONS)
    assert not (tmp_path / "out" / NAME / "dataset.json").exists()


def test_a_picture_that_was_put_back_is_in_the_build_that_goes_on(copied, tmp_path):
    capture = Capture(copied)
    picture = capture.paths.image(capture.frames[1], "400000")
    picture.rename(tmp_path / "kept.png")
    interrupted(build_multiview, (copied,), tmp_path / "out", BuildOptions(), OPTIONS)
    (tmp_path / "kept.png").rename(picture)
    summary = build((copied,), tmp_path / "out", BuildOptions(), OPTIONS)
    assert summary.gaps == []
    assert sum(summary.counts["views"].values()) == 27


def test_a_strict_build_keeps_no_shard_with_a_gap(copied, tmp_path):
    capture = Capture(copied)
    capture.paths.image(capture.frames[1], "400000").unlink()
    interrupted(build_multiview, (copied,), tmp_path / "out", BuildOptions(), OPTIONS)
    with pytest.raises(InputError, match=r"400000/000015\.png"):
        build((copied,), tmp_path / "out", BuildOptions(strict=True), OPTIONS)


def test_corrected_cameras_label_every_view(copied, tmp_path):
    capture = Capture(copied)
    shifted = {}
    for name, camera in capture.cameras.items():
        wrong = camera.camera_from_world.copy()
        wrong[0, 3] += 20
        shifted[name] = camera._replace(camera_from_world=wrong)
    right = capture.paths.krt.read_bytes()
    write_krt(capture.paths.krt, shifted)
    interrupted(build_multiview, (copied,), tmp_path / "on", BuildOptions(), OPTIONS)
    capture.paths.krt.write_bytes(right)
    # The next command is another process: it remembers nothing of the files.
    capture_records._capture.cache_clear()
    for out in ("on", "whole"):
        build((copied,), tmp_path / out, BuildOptions(), OPTIONS)
    gone_on, whole = (rows(tmp_path / out, "train") for out in ("on", "whole"))
    np.testing.assert_array_equal(
        [view["view"] for view in gone_on], [view["view"] for view in whole]
    )


def test_two_subjects_filters_and_limits(source, tmp_path):
    other = write_capture(tmp_path / "other", seed=1)
    options = dataclasses.replace(
        OPTIONS, cameras=("400001",), test_cameras=(), view_textures=False,
        segments=("E00*",), texture_size=16, texture_codec="jpeg",
    )  # fmt: skip
    summary = build(
        (source, other), tmp_path / "o", BuildOptions(max_frames=4), options
    )
    configs = ("frames", "frame_textures", "views")
    assert summary.counts == {config: {"train": 8} for config in configs}
    found = rows(tmp_path / "o", "train")
    assert [r["source"] for r in found] == [0] * 4 + [1] * 4
    assert all("texture" not in r for r in found)
    frame = records.open_frames(tmp_path / "o", "frame_textures")[5]
    assert images.decode_texture(frame).shape == (16, 16, 3)
    with pytest.raises(InputError, match=r"no camera 5\*.*400000"):
        build((source,), tmp_path / "p", BuildOptions(),
              dataclasses.replace(OPTIONS, cameras=("5*",)))  # fmt: skip


def test_what_is_to_be_held_out_is_in_one_of_the_captures(source, tmp_path):
    other = write_capture(tmp_path / "other")
    (other / "frame_list.txt").write_text("E001 000010\nE009 000011\n")
    both = (source, other)
    with pytest.raises(InputError, match=r"no segment ROM\*.*EXP_ROM07"):
        build(both, tmp_path / "o", BuildOptions(),
              dataclasses.replace(OPTIONS, test_segments=("E009", "ROM*")))  # fmt: skip
    _require_segments([Capture(root) for root in both], ("E009", "EXP_ROM*"))


def test_a_camera_of_any_name_can_be_held_out(copied):
    krt = Capture(copied).paths.krt
    write_krt(krt, {"cam[L]": CAMERAS["400000"], "camL": CAMERAS["400001"]})
    options = dataclasses.replace(OPTIONS, cameras=("*",), test_cameras=("cam[L]",))
    assert _cameras(Capture(copied), options) == ("cam[L]", "camL")
    assert matches("cam[L]", options.test_cameras)


def test_a_folder_that_is_no_capture(tmp_path):
    with pytest.raises(InputError, match="not a finished capture"):
        build((tmp_path,), tmp_path / "out", BuildOptions(), OPTIONS)


def test_what_is_true_of_the_capture_travels_along(built, source):
    folder = built[0] / NAME / "sources" / "0"
    cameras = json.loads((folder / "cameras.json").read_text())
    assert [c["name"] for c in cameras] == list(CAMERAS)
    assert [c["test"] for c in cameras] == [False, False, True]
    statistics = Capture(source).statistics
    with np.load(folder / "stats.npz", allow_pickle=False) as stored:
        for name, value in statistics._asdict().items():
            np.testing.assert_array_equal(stored[name], value)
    ours = topology.load(folder / "topology.npz")
    np.testing.assert_array_equal(ours.faces, egg_topology().faces)


def test_multifaces_mesh_gets_its_landmarks(source, tmp_path, monkeypatch):
    """As if the egg were of Multiface's topology, in an .obj, which holds no map."""
    egg = egg_topology()
    counts = {"FACES": len(egg.faces), "VERTICES": egg.vertex_count}
    for name, count in (counts | {"UVS": len(egg.uvs)}).items():
        monkeypatch.setattr(multiface_landmarks, name, count)
    bare = dataclasses.replace(
        egg, landmark_faces=None, landmark_barycentric=None, regions={}
    )
    topology.save(tmp_path / "bare.npz", bare)
    options = dataclasses.replace(OPTIONS, topology=tmp_path / "bare.npz")
    marked = topology_of(source, options)
    faces, weights = multiface_landmarks.landmark_map(egg)
    np.testing.assert_array_equal(marked.landmark_faces, faces)
    np.testing.assert_array_equal(marked.landmark_barycentric, weights)
    assert set(marked.regions) == {"eyes", "mouth", "jaw"}


def test_topology_from_a_file_or_reported_missing(source, tmp_path):
    root = tmp_path / "bare"
    shutil.copytree(source, root)
    (root / "topology.npz").unlink()
    some = dataclasses.replace(OPTIONS, segments=("E001*",), view_textures=False)
    summary = build((root,), tmp_path / "a", BuildOptions(max_frames=1), some)
    assert [g for g in summary.gaps if "--topology" in g] == summary.gaps
    given = dataclasses.replace(some, topology=source / "topology.npz")
    summary = build((root,), tmp_path / "b", BuildOptions(max_frames=1), given)
    assert summary.gaps == []
    assert (tmp_path / "b" / NAME / "sources" / "0" / "topology.npz").is_file()
    other = tmp_path / "other.obj"
    other.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n" + "vt 0 0\n" * 3 + "f 1/1 2/2 3/3\n")
    wrong = dataclasses.replace(some, topology=other)
    with pytest.raises(InputError, match=r"expected 300 vertices, got 3"):
        build((root,), tmp_path / "c", BuildOptions(), wrong)


def test_textures_are_of_one_size_which_a_model_learns_of(copied, tmp_path):
    """What is asked for is the largest; what is stored is what the capture has."""
    paths = Capture(copied).paths
    frame, other = Capture(copied).frames[:2]
    small = images.encode(np.full((16, 16, 3), 9, np.uint8), "png")
    paths.texture(frame, "400000").write_bytes(small)
    paths.texture(other).write_bytes(small)
    options = dataclasses.replace(OPTIONS, texture_size=1024)
    summary = build((copied,), tmp_path / "out", BuildOptions(), options)
    assert [f"expected {TEXTURE} texels a side" in gap for gap in summary.gaps] == [
        True,
        True,
    ]
    assert only_source(tmp_path / "out").texture_size == TEXTURE
    seen = records.open_frames(tmp_path / "out", "frame_textures")[0]
    assert images.decode_texture(seen).shape == (TEXTURE, TEXTURE, 3)


def test_a_frame_that_is_listed_twice_is_built_once(copied, tmp_path):
    listed = Capture(copied).paths.frame_list
    listed.write_text(listed.read_text() + listed.read_text().splitlines()[0] + "\n")
    summary = build((copied,), tmp_path / "out", BuildOptions(), OPTIONS)
    assert summary.counts["frames"] == {"train": 6, "test": 3}


def test_statistics_that_are_missing_are_said_at_once(copied, tmp_path, monkeypatch):
    (copied / "tex_var.txt").unlink()
    monkeypatch.setattr(build_multiview, "write_shards", None)
    with pytest.raises(InputError, match=r"tex_var\.txt: cannot read"):
        build((copied,), tmp_path / "out", BuildOptions(), OPTIONS)


def test_what_was_seen_of_a_texture_survives_shrinking_and_jpeg(tmp_path):
    """Black is "not seen", and is not mixed into the colours beside it."""
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[np.hypot(*np.mgrid[-32:32, -32:32]) < 25] = (200, 120, 90)
    path = tmp_path / "t.png"
    path.write_bytes(images.encode(texture, "png"))
    options = dataclasses.replace(OPTIONS, texture_codec="jpeg")
    decoded = images.decode_texture(_texture(path, 32, options))[::-1]
    share = texture.any(-1).reshape(32, 2, 32, 2).mean((1, 3))
    np.testing.assert_array_equal(decoded.any(-1), share >= 0.5)
    inside = decoded[share >= 0.5].astype(int)
    assert np.abs(inside - (200, 120, 90)).max() <= 3
    dimmed = texture.reshape(32, 2, 32, 2, 3).mean((1, 3))[(share >= 0.5) & (share < 1)]
    assert (dimmed[:, 0] < 160).any()
