# SPDX-License-Identifier: Apache-2.0
"""The `synth` commands and `data landmark-map`; a process that is killed goes on."""

import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from i2z_jax import checkpoint
from i2z_jax.config import DAMConfig
from i2z_jax.data import ibug, images
from i2z_jax.data.krt import CalibratedCamera, write_krt
from i2z_jax.data.multiface import Capture
from i2z_jax.data.truth import read_truth, truth_path
from i2z_jax.data.video import read_frames
from i2z_jax.geometry import mesh, topology
from i2z_jax.geometry.blendshapes import read_blend_shapes
from i2z_jax.geometry.topology import landmark_points
from i2z_jax.models.dam import DAM
from i2z_jax.synth import capture as synth_capture
from i2z_jax.synth import landmark_set
from i2z_jax.synth.head import ProceduralHead
from i2z_jax.synth.identity import Identity
from tests.command_line import i2z, refusal
from tests.processes import I2Z, finish, start, until
from tests.synth.multiface_reader import files, head_pose, krt

TINY = ["--width", "64", "--height", "64", "--texture-size", "32"]
TINY += ["--vertices", "500"]
CAPTURE = ["synth", "capture", "--frames", "24", "--cameras", "3", *TINY]
VIDEO = ["synth", "video", "--frames", "4", *TINY]
LANDMARKS = ["synth", "landmarks", "--count", "8", *TINY]


def printed(*words: object) -> str:
    """By `i2z WORDS` in a process of its own, which goes well."""
    out, error = finish(start(*I2Z, *words))
    assert "Warning" not in error
    return out


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("commands") / "capture"
    said = printed(*CAPTURE, "--out", out)
    assert "24 frames x 3 cameras, 64 x 64 px, texture 32; 24 frames rendered" in said
    return out


@pytest.fixture(scope="module")
def dam(capture, tmp_path_factory) -> Path:
    """A model of the captured mesh that learned nothing, and its statistics."""
    sizes = DAMConfig(
        vertices=Capture(capture).vertex_count, z_size=8, texture_size=32, cameras=3
    )
    folder = tmp_path_factory.mktemp("model") / "dam"
    card = checkpoint.ModelCard("dam", sizes, licence="none")
    checkpoint.save_model(folder, DAM(sizes, rngs=nnx.Rngs(0)), card)
    return folder


def test_every_file_of_a_capture_is_there(capture):
    found = Capture(capture)
    assert len(found.frames) == 24
    for frame in found.frames:
        assert found.vertices(*frame).shape == (found.vertex_count, 3)
        for camera in found.cameras:
            for path in (
                found.paths.image(frame, camera),
                found.paths.texture(frame, camera),
            ):
                with Image.open(path) as image:
                    image.verify()
    assert found.statistics.texture_mean.shape == (32, 32, 3)
    # Nothing that was written aside is left.
    assert not list(capture.rglob(".*"))


def test_a_killed_capture_goes_on_to_the_same_files(capture, tmp_path):
    out = tmp_path / "capture"
    killed = start(*I2Z, *CAPTURE, "--out", out)
    until(lambda: any(out.glob("tracked_mesh/*/*.txt")), killed)
    killed.kill()
    finish(killed, status=-signal.SIGKILL)
    assert not (out / "frame_list.txt").exists()
    done = len(list(out.glob("tracked_mesh/*/*_transform.txt")))
    assert f"{24 - done} frames rendered" in printed(*CAPTURE, "--out", out)

    def whole(root):
        return {k: v for k, v in files(root).items() if not _aside(k)}

    assert whole(out) == files(capture)
    ours, theirs = (
        vars(topology.load(root / "topology.npz")) for root in (out, capture)
    )
    np.testing.assert_equal(ours, theirs)


def _aside(path: str) -> bool:
    """A kill may leave what was being written aside; no reader looks there."""
    return any(part.startswith(".") for part in Path(path).parts)


def test_a_video_brings_the_z_of_its_meshes(capture, dam, tmp_path, capsys):
    clip = tmp_path / "clip.mp4"
    assert i2z(*VIDEO, "--out", clip, "--dam", dam) == 0
    assert "4 frames, 64 x 64 px, difficulty 0.5" in capsys.readouterr().out
    assert len(list(read_frames(clip))) == 4
    truth, model = read_truth(truth_path(clip)), checkpoint.load(dam)
    # The lab-lit texture is the capture's of that face, whatever its expression:
    # z is nearer to the code of mesh and captured texture than to other faces' codes.
    folder = capture / "unwrapped_uv_1024"
    captured = sorted(folder.glob("*/average/*.png"))[0]
    texture = jnp.asarray(images.read_picture(captured)[None, ::-1] / 255)
    unlit = jnp.full_like(texture, 0.5)
    encode = jax.jit(model.encode)
    for vertices, z in zip(jnp.asarray(truth.vertices), truth.z, strict=True):
        near = encode(vertices[None], texture).mean[0]
        far = encode(vertices[None], unlit).mean[0]
        assert np.linalg.norm(z - near) < 0.25 * np.linalg.norm(z - far)


def test_landmark_pictures_come_in_pairs(tmp_path, capsys):
    assert i2z(*LANDMARKS, "--out", tmp_path / "set") == 0
    assert "8 pictures, 64 x 64 px; 8 rendered" in capsys.readouterr().out
    pictures = sorted((tmp_path / "set").rglob("*.png"))
    assert len(pictures) == 8
    for path in pictures:
        assert images.read_picture(path).shape == (64, 64, 3)
        assert np.isfinite(ibug.read_pts(path.with_suffix(".pts"))).all()


def test_the_landmark_map_of_a_capture_comes_back(capture, tmp_path, capsys):
    """Points are projected here by the KRT's own rules, K [R | t] [Rf | tf]."""
    capture = shutil.copytree(capture, tmp_path / "capture")
    known, found = topology.load(capture / "topology.npz"), Capture(capture)
    for frame in found.frames[::4]:
        marks = landmark_points(known, found.vertices(*frame).astype(float))
        pose = head_pose(capture, *frame)
        for name, (k, rt) in krt(capture).items():
            world = marks @ pose[:, :3].T + pose[:, 3]
            x, y, z = k @ (rt[:, :3] @ world.T + rt[:, 3:])
            path = tmp_path / "pts" / frame.segment / name / f"{frame.number}.pts"
            path.parent.mkdir(parents=True, exist_ok=True)
            ibug.write_pts(path, np.stack([x / z, y / z], axis=1))
    found.paths.transform(found.frames[0]).unlink()
    out = tmp_path / "topology.npz"
    words = "--capture", capture, "--landmarks", tmp_path / "pts", "--out", out
    assert i2z("data", "landmark-map", *words) == 0
    assert "68 landmarks from 5 frames" in capsys.readouterr().out
    neutral = found.statistics.vertex_mean.astype(float)
    before, after = (landmark_points(t, neutral) for t in (known, topology.load(out)))
    assert np.linalg.norm(before - after, axis=1).max() < 0.5


def test_a_landmark_map_that_is_there_is_named_first(capture, tmp_path, capsys):
    out = tmp_path / "topology.npz"
    out.write_bytes(b"mine")
    # Nothing is read: there are no landmarks, and it is not they that are missed.
    command = ["data", "landmark-map", "--capture", capture, "--out", out]
    command += ["--landmarks", tmp_path]
    assert "already exists; " in refusal(capsys, *command)
    assert "no frame with" in refusal(capsys, *command, "--overwrite")
    assert out.read_bytes() == b"mine"


def test_a_landmark_map_is_of_the_captures_mesh(capture, tmp_path, capsys):
    known = topology.load(capture / "topology.npz")
    other = replace(known, vertex_count=known.vertex_count + 9, regions={})
    topology.save(tmp_path / "other.npz", other)
    command = ["data", "landmark-map", "--capture", capture, "--landmarks", "no"]
    command += ["--topology", tmp_path / "other.npz", "--out", tmp_path / "out.npz"]
    assert "the topology of another mesh" in refusal(capsys, *command)


def test_a_landmark_map_needs_a_topology(capture, tmp_path, capsys):
    bare = shutil.copytree(capture, tmp_path / "bare")
    for path in (bare / "topology.npz", *bare.glob("tracked_mesh/*/*.obj")):
        path.unlink()
    command = ["data", "landmark-map", "--capture", bare, "--landmarks", "no"]
    said = refusal(capsys, *command, "--out", tmp_path / "out.npz")
    assert "no topology.npz and no .obj; give --topology FILE" in said


# One process: nowhere to write, then no file longer than a limit (a full disk).
NO_ROOM = """
import os, resource, sys
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "1e9"  # read it only
from i2z_jax.commands import main

def says(*words):
    try:
        main([*words])
    except SystemExit as end:
        print("exit", end.code, file=sys.stderr, flush=True)

folder, limit, commands = sys.argv[1], int(sys.argv[2]), eval(sys.argv[3])
for name, words in commands.items():
    says(*words, "--out", f"{folder}/file/{name}")
for name, words in commands.items():
    size = 20 * limit if name == "capture" else limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    says(*words, "--out", f"{folder}/{name}")
"""


def test_no_room_is_one_line_and_leaves_nothing_that_looks_whole(tmp_path):
    (tmp_path / "file").write_text("")
    # The pictures of this capture are its longest files.
    large = ["--width", "320", "--height", "320"]
    commands = {
        "capture": [*CAPTURE, *large], "clip.mp4": VIDEO, "set": LANDMARKS
    }  # fmt: skip
    _, err = finish(start("-c", NO_ROOM, tmp_path, 1000, repr(commands)))
    lines = [line for line in err.splitlines() if line.startswith(("i2z", "exit"))]
    assert lines[1::2] == ["exit 1"] * 6, err
    for line, name in zip(lines[:6:2], commands, strict=True):
        assert f"{tmp_path}/file/{name}" in line
        assert "cannot write here (" in line
    for line in lines[6::2]:
        assert "cannot write (File too large)" in line
    assert "Traceback" not in err
    assert not (tmp_path / "capture/frame_list.txt").exists()
    assert not list(tmp_path.glob("capture/tracked_mesh/*/*_transform.txt"))
    # It got as far as the first picture.
    assert (tmp_path / "capture/topology.npz").exists()
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not left & {"clip.mp4", "clip.truth.npz"}
    assert not [name for name in left if name.endswith((".png", ".pts"))]


@pytest.fixture(scope="module")
def scan(capture, tmp_path_factory) -> Path:
    """A folder with a captured mesh as a scan, and every way to spoil it."""
    folder = tmp_path_factory.mktemp("scan")
    shape, found = topology.load(capture / "topology.npz"), Capture(capture)
    vertices = found.vertices(*found.frames[0])
    parts = (shape.uvs, shape.faces, shape.uv_faces)
    mesh.write_obj(folder / "scan.obj", mesh.ObjMesh(vertices, *parts))
    vertices.tofile(folder / "scan.bin")
    shutil.copy(capture / "topology.npz", folder / "face.npz")
    lines = (folder / "scan.obj").read_text().splitlines()
    bare = [line for line in lines if not line.startswith(("vt", "f"))]
    (folder / "bare.obj").write_text("\n".join([*bare, "f 1 2 3\n"]))
    (folder / "range.obj").write_text("\n".join([*lines, "f 1/1 2/2 9999/3\n"]))
    (folder / "nan.obj").write_text("\n".join(["v nan 0 0", *lines]))
    vertices[5, 1] = np.nan
    vertices.tofile(folder / "nan.bin")
    Image.new("RGB", (32, 32), (90, 60, 50)).save(folder / "skin.png")
    Image.new("RGB", (32, 16)).save(folder / "wide.png")
    # One camera looks along z; the other's axis meets it where that one stands, or not.
    front = CalibratedCamera(np.diag([240.0, 240.0, 1.0]), np.zeros(5), np.eye(3, 4))
    turned = np.array([[0.0, 0, -1, 1000], [0, 1, 0, 0], [1, 0, 0, -20]])
    inside = front._replace(camera_from_world=turned)
    write_krt(folder / "KRT_inside", {"front": front, "near": inside})
    write_krt(folder / "KRT_one", {"front": front})
    rows = (folder / "KRT_inside").read_text().splitlines()
    (folder / "KRT_short").write_text("\n".join(rows[:3] + rows[4:]))
    return folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--template bare.obj --texture skin.png", "bare.obj:.*without UV"),
        ("--template scan.bin --topology bare.obj --texture skin.png", "without UV"),
        ("--template range.obj --texture skin.png", "range.obj:.*got 9999"),
        ("--template nan.obj --texture skin.png", "vertex 1 is not finite"),
        ("--template nan.bin --topology face.npz --texture skin.png", "not finite"),
        ("--template scan.bin --topology face.npz --texture wide.png", "is square"),
        ("--template absent.obj --texture skin.png", "absent.obj: cannot read"),
        ("--width 10000000", r"--width: too large \(expected <= 8192"),
        ("--texture-size 4096", r"--texture-size: too large \(expected <= 2048"),
        ("--width 8192 --height 8192", "too many for 8192 x 8192 pixels; .*smaller"),
        ("--seed -1", "--seed: too small"),
        ("--identity -1", "--identity: too small"),
        ("--krt KRT_short", "KRT_short: camera front is incomplete"),
        ("--krt KRT_one", "--krt: the cameras do not tell where the head is"),
        ("--krt KRT_inside", "camera near: the camera is inside the head"),
    ],
)
def test_bad_input_is_one_line(scan, tmp_path, capsys, monkeypatch, words, says):
    monkeypatch.chdir(scan)
    out = tmp_path / "out"
    line = refusal(capsys, *CAPTURE, "--out", out, *words.split())
    assert re.search(rf"^i2z synth capture: .*{says}", line)
    assert not (out / "frame_list.txt").exists()
    if words.startswith(("--seed", "--width", "--texture-size")):
        assert not out.exists()  # else the right command would be another one's


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--fps 0", r"--fps: too small \(expected >= 1, got 0"),
        ("--fps 99999999999", "--fps: too large"),
        ("--difficulty nan", "--difficulty: too small"),
        ("--seed -1", "--seed: too small"),
        ("", "phone.mp4: already exists; .*--overwrite"),
    ],
)
def test_a_bad_video_is_one_line_and_a_recording_stays(tmp_path, capsys, words, says):
    out = tmp_path / "phone.mp4"
    out.write_bytes(b"recorded")
    command = ["synth", "video", "--out", out, "--frames", "4", *words.split()]
    line = refusal(capsys, *command)
    assert re.search(rf"^i2z synth video: .*{says}", line)
    assert out.read_bytes() == b"recorded"


@pytest.mark.parametrize("change", ["--topology copy.npz", "--texture copy.png"])
def test_another_scan_is_another_capture(scan, tmp_path, capsys, monkeypatch, change):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(scan)
    monkeypatch.setattr(synth_capture, "CaptureStage", stop)
    shutil.copy("face.npz", "copy.npz")
    shutil.copy("skin.png", "copy.png")
    scanned = ["--template", "scan.bin", "--topology", "face.npz"]
    scanned += ["--texture", "skin.png"]
    command = [*CAPTURE, "--out", tmp_path / "out", *scanned]
    assert i2z(*command) == 130
    assert "other options" in refusal(capsys, *command, *change.split())


def test_the_sizes_of_the_heads_belong_to_a_landmark_set(tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(landmark_set, "_picture", stop)
    command = [*LANDMARKS, "--out", tmp_path / "out"]
    assert i2z(*command) == 130
    for other in (["--texture-size", "64"], ["--vertices", "700"]):
        assert "other options" in refusal(capsys, *command, *other)


def test_pictures_too_large_to_be_drawn_begin_no_set(tmp_path, capsys):
    large = ["--width", "8192", "--height", "8192"]
    said = refusal(capsys, *LANDMARKS, *large, "--out", tmp_path / "out")
    assert "too many for 8192 x 8192 pixels" in said
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_mesh(dam, tmp_path, capsys):
    command = [*VIDEO, "--vertices", "700", "--out", tmp_path / "a.mp4", "--dam", dam]
    says = r"^i2z synth video: .*: a model of another mesh than this head's \(expected"
    assert re.search(says, refusal(capsys, *command))
    assert not list(tmp_path.iterdir())


def test_blend_shapes_are_the_heads_expressions(tmp_path, capsys):
    out = tmp_path / "shapes"
    words = ["synth", "blendshapes", "--out", out, "--vertices", "500"]
    words += ["--identity", "3"]
    assert i2z(*words) == 0
    who = Identity.sample(np.random.default_rng(3))
    head = ProceduralHead(who, 500)
    smile = np.eye(38)[head.expression_names.index("mouth_smile_left")]
    shapes = read_blend_shapes(out, head.neutral)
    assert len(shapes.names) == len(head.expression_names)
    np.testing.assert_allclose(shapes.neutral, head.neutral, atol=1e-3)
    found = shapes.neutral + shapes.moves[shapes.names.index("mouthSmileLeft")]
    np.testing.assert_allclose(found, head.vertices(smile), atol=1e-3)
    with Image.open(out / "shapes.png") as picture:
        assert picture.size == (8 * 240, 5 * 240)
    assert "already exists" in refusal(capsys, *words)
