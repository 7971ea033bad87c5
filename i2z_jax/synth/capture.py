# SPDX-License-Identifier: Apache-2.0
"""A head on a stage -> a capture in Multiface layout (DESIGN section 8).

The schedule (expressions, head motion, cameras) is drawn once from the seed, so any
frame can be made alone: a run that was killed goes on with the frames that are not
there. Each frame's `_transform.txt` is its last file, and `frame_list.txt` the
capture's, so neither looks whole before it is.

Pictures are linear in light, as Multiface's are; each camera has its own colour gain.
Per-camera textures are what that camera saw, 0 on texels it did not see; the average
weighs the cameras by how squarely they saw a texel.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax import console
from i2z_jax.data import multiface as mf
from i2z_jax.data.krt import write_krt
from i2z_jax.errors import InputError
from i2z_jax.geometry import mesh, topology
from i2z_jax.geometry.camera import camera_position, project_calibrated
from i2z_jax.geometry.fit import require_in_front
from i2z_jax.synth.motion import FRAME_STEP, Segment, capture_segments, chain, rigid
from i2z_jax.synth.rig import Rig, capture_rig
from i2z_jax.synth.subject import Head, Subject, face_centre
from i2z_jax.synth.view import Cameras, photograph, surface, to_bytes

# Writing is many small files: threads wait for the disk while the next frame renders.
WRITERS, AHEAD = 2, 4
# Pixels or texels rendered in one go: bounds memory, whatever the number of cameras.
BATCH_PIXELS = 2**20
# PNG at its fastest: half the time of the default for a tenth more bytes.
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True)
class CaptureOptions:
    """Sizes of a capture. Equal options give equal files."""

    frames: int
    cameras: int
    width: int
    height: int
    seed: int = 0


class Shot(NamedTuple):
    """One frame of the schedule."""

    frame: mf.Frame
    weights: np.ndarray
    world_from_head: np.ndarray


def write_capture(
    subject: Subject,
    options: CaptureOptions,
    out: Path,
    *,
    origin: dict[str, object],
    rig: Rig | None = None,
) -> int:
    """Render a capture, or what is missing of it.

    Args:
        subject: who is captured.
        options: sizes and seed.
        out: the capture's folder.
        origin: what else decides the result (the head's own options); a folder begun
            with other options or another origin is refused.
        rig: cameras to use instead of invented ones.

    Returns:
        how many frames were rendered now.

    Raises:
        InputError: `out` holds something else, or cannot be written.
    """
    layout = mf.Layout(out)
    _claim(layout, asdict(options) | origin)
    head, rng = subject.head, np.random.default_rng(options.seed)
    if rig is None:
        rig = capture_rig(options.cameras, options.width, options.height, rng)
    segments = capture_segments(head.expression_names, options.frames, rng)
    shots = list(_schedule(segments, rig, face_centre(head)))
    write_krt(layout.krt, rig.cameras)
    topology.save(layout.topology, head.topology, overwrite=True)
    missing = [shot for shot in shots if not layout.transform(shot.frame).exists()]
    stage = _Stage(subject, rig, options)
    with ThreadPoolExecutor(WRITERS) as pool, console.bar() as bar:
        task = bar.add_task("frames", total=len(shots), remark="")
        bar.advance(task, len(shots) - len(missing))
        pending = []
        for shot in missing:
            pending.append(pool.submit(_write, layout, shot, stage.photograph(shot)))
            while len(pending) > AHEAD:
                pending.pop(0).result()
                bar.advance(task)
        for job in pending:
            job.result()
            bar.advance(task)
    first = {shot.frame.segment: shot for shot in reversed(shots)}
    for shot in first.values():
        _write_obj(layout, shot.frame, head)
    mf.write_statistics(layout, _statistics(layout, [s.frame for s in shots]))
    mf.write_frame_list(layout.frame_list, [shot.frame for shot in shots])
    return len(missing)


class _Frame(NamedTuple):
    """What is written of one frame."""

    vertices: np.ndarray
    images: dict[str, np.ndarray]
    textures: dict[str, np.ndarray]


class _Stage:
    """A head under fixed light in front of fixed cameras, compiled once."""

    def __init__(self, subject: Subject, rig: Rig, options: CaptureOptions):
        self.rig, self.options = rig, options
        self.surface = surface(subject.head.topology, subject.texture_size)
        self.paint = jax.jit(jax.vmap(subject.paint, in_axes=(None, 0, None)))
        pixels = max(options.width * options.height, subject.texture_size**2)
        self.batch = max(1, BATCH_PIXELS // pixels)
        self.vertices = jax.jit(subject.head.vertices)
        rng = np.random.default_rng(options.seed)
        self.walls = _walls(options, len(rig.cameras), rng)

    def photograph(self, shot: Shot) -> _Frame:
        cameras = self.rig.cameras.values()
        rigid_heads = [c.camera_from_world for c in cameras]
        vertices = self.vertices(jnp.asarray(shot.weights, jnp.float32))
        checked = np.asarray(vertices, float)
        for name, camera in self.rig.cameras.items():
            _, depth = project_calibrated(
                camera.intrinsics,
                camera.camera_from_world,
                shot.world_from_head,
                checked,
            )
            require_in_front(depth, camera=f"camera {name}")
        from_head = [chain(c, shot.world_from_head) for c in rigid_heads]
        positions = [camera_position(c, shot.world_from_head) for c in rigid_heads]
        options, batch = self.options, self.batch
        images, textures = {}, {}
        names, lenses = list(self.rig.cameras), [c.intrinsics for c in cameras]
        total, weights = 0.0, 0.0
        for start in range(0, len(names), batch):
            some = slice(start, start + batch)
            standing = jnp.asarray(np.array(positions[some]), jnp.float32)
            gains = jnp.asarray(self.rig.gains[some], jnp.float32)[:, None, None]
            painted = self.paint(vertices, standing, None)
            painted = jnp.clip(painted * gains, 0, 1)
            views = photograph(
                self.surface,
                vertices,
                painted,
                Cameras(
                    jnp.asarray(np.array(lenses[some]), jnp.float32),
                    jnp.asarray(np.array(from_head[some]), jnp.float32),
                ),
                height=options.height,
                width=options.width,
            )
            whole = views.image + (1 - views.mask[..., None]) * self.walls[some]
            weight = views.seen[..., None]
            total = total + jnp.sum(painted * weight, axis=0)
            weights = weights + jnp.sum(weight, axis=0)
            images |= dict(zip(names[some], to_bytes(whole), strict=True))
            seen = to_bytes(painted * (weight > 0))
            textures |= dict(zip(names[some], seen, strict=True))
        textures[mf.AVERAGE] = to_bytes(total / jnp.maximum(weights, 1e-6))
        return _Frame(np.asarray(vertices), images, textures)


def _schedule(segments: list[Segment], rig: Rig, centre: np.ndarray) -> Iterator[Shot]:
    number = 0
    for segment in segments:
        for row in range(len(segment.weights)):
            moved = rigid(segment.head_angles[row], segment.head_shift[row], centre)
            yield Shot(
                mf.Frame(segment.name, f"{number:06d}"),
                segment.weights[row],
                chain(rig.world_from_stage, moved),
            )
            number += FRAME_STEP


def _walls(options: CaptureOptions, cameras: int, rng: np.random.Generator):
    """Dim backgrounds: a stage is dark, and no two cameras look at the same wall."""
    corners = rng.uniform(0.01, 0.06, (cameras, 2, 2, 3))
    size = (options.width, options.height)
    walls = [cv2.resize(c, size, interpolation=cv2.INTER_LINEAR) for c in corners]
    return jnp.asarray(np.array(walls), jnp.float32)


def _write(layout: mf.Layout, shot: Shot, frame: _Frame) -> None:
    for camera, image in frame.images.items():
        _write_png(layout.image(shot.frame, camera), image)
    for camera, texture in frame.textures.items():
        _write_png(layout.texture(shot.frame, camera), texture[::-1])
    mf.write_vertices(layout.mesh(shot.frame), frame.vertices)
    mf.write_transform(layout.transform(shot.frame), shot.world_from_head)


def _write_png(path: Path, image: np.ndarray) -> None:
    done, data = cv2.imencode(".png", image[..., ::-1], PNG)
    assert done
    mf.write_bytes(path, data.tobytes())


def _write_obj(layout: mf.Layout, frame: mf.Frame, head: Head) -> None:
    shape = head.topology
    vertices = mf.read_vertices(layout.mesh(frame))
    model = mesh.ObjMesh(vertices, shape.uvs, shape.faces, shape.uv_faces)
    mesh.write_obj(layout.mesh(frame, ".obj"), model, overwrite=True)


def _statistics(layout: mf.Layout, frames: list[mf.Frame]) -> mf.Statistics:
    """Means, and one variance for all texels and one for all coordinates.

    Read back from the files: the same after an interruption, and true of them.
    """
    textures = _moments(mf.read_texture(layout.texture(f)) for f in frames)
    vertices = _moments(mf.read_vertices(layout.mesh(f)) for f in frames)
    return mf.Statistics(
        textures[0].astype(np.float32),
        textures[1],
        vertices[0].astype(np.float32),
        vertices[1],
    )


def _moments(arrays: Iterator[np.ndarray]) -> tuple[np.ndarray, float]:
    total, squares, count = 0.0, 0.0, 0
    for array in arrays:
        wide = array.astype(np.float64)
        total, squares, count = total + wide, squares + wide**2, count + 1
    mean = np.asarray(total / count)
    # A capture of one frame does not vary; a variance of 0 could not normalise.
    return mean, max(float(np.mean(squares / count - mean**2)), 1e-6)


def _claim(layout: mf.Layout, settings: dict[str, object]) -> None:
    """Mark the folder as this capture's, or refuse what is not."""
    path = layout.root / "synth.json"
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if path.exists():
        if path.read_text() != text:
            raise InputError(
                "begun with other options",
                where=layout.root,
                fix="give the same ones to go on, or another --out",
            )
        return
    if layout.root.is_dir() and any(layout.root.iterdir()):
        raise InputError(
            "already exists", where=layout.root, fix="choose another --out"
        )
    mf.write_text(path, text)
