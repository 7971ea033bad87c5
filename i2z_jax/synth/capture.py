# SPDX-License-Identifier: Apache-2.0
"""A head on a stage -> a capture in Multiface layout (DESIGN section 8).

The schedule (expressions, head motion, cameras) is drawn once from the seed, so every
frame can be rendered independently, and an interrupted run resumes with the missing
frames. A frame's `_transform.txt` and the capture's `frame_list.txt` are written last:
neither looks complete before it is.

`stage.py` renders a frame.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from i2z_jax import console
from i2z_jax.data import multiface as mf
from i2z_jax.data.krt import write_krt
from i2z_jax.files import write_bytes
from i2z_jax.geometry import mesh, topology
from i2z_jax.synth.claim import claim
from i2z_jax.synth.motion import FRAME_STEP, Segment, capture_segments, chain, rigid
from i2z_jax.synth.rig import Rig, capture_rig
from i2z_jax.synth.stage import CaptureStage, Seen
from i2z_jax.synth.subject import Head, Subject, face_centre

# Writing is many small files: threads wait for the disk while the next frame renders.
WRITERS, AHEAD = 2, 4
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
    """Render a capture; frames that exist are kept.

    Args:
        subject: who is captured.
        options: sizes and seed.
        out: the capture's folder.
        origin: everything else that determines the output (the head's options); a
            folder started with different ones is refused.
        rig: cameras to use instead of generated ones.

    Returns:
        number of frames rendered by this call.

    Raises:
        InputError: `out` holds something else, or cannot be written.
    """
    layout = mf.Layout(out)
    claim(out, asdict(options) | origin)
    head, rng = subject.head, np.random.default_rng(options.seed)
    size = {"width": options.width, "height": options.height}
    if rig is None:
        rig = capture_rig(options.cameras, rng, **size)
    segments = capture_segments(head.expression_names, options.frames, rng)
    shots = list(_schedule(segments, rig, face_centre(head)))
    write_krt(layout.krt, rig.cameras)
    topology.save(layout.topology, head.topology, overwrite=True)
    missing = [shot for shot in shots if not layout.transform(shot.frame).exists()]
    stage = CaptureStage(subject, rig, **size, seed=options.seed)
    with ThreadPoolExecutor(WRITERS) as pool, console.bar() as bar:
        task = bar.add_task("frames", total=len(shots), remark="")
        bar.advance(task, len(shots) - len(missing))
        pending = []
        for shot in missing:
            seen = stage.photograph(shot.weights, shot.world_from_head)
            pending.append(pool.submit(_write, layout, shot, seen))
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


def _write(layout: mf.Layout, shot: Shot, seen: Seen) -> None:
    for camera, image in seen.images.items():
        _write_png(layout.image(shot.frame, camera), image)
    for camera, texture in seen.textures.items():
        _write_png(layout.texture(shot.frame, camera), texture[::-1])
    mf.write_vertices(layout.mesh(shot.frame), seen.vertices)
    mf.write_transform(layout.transform(shot.frame), shot.world_from_head)


def _write_png(path: Path, image: np.ndarray) -> None:
    done, data = cv2.imencode(".png", image[..., ::-1], PNG)
    assert done
    write_bytes(path, data.tobytes())


def _write_obj(layout: mf.Layout, frame: mf.Frame, head: Head) -> None:
    shape = head.topology
    vertices = mf.read_vertices(layout.mesh(frame))
    model = mesh.ObjMesh(vertices, shape.uvs, shape.faces, shape.uv_faces)
    mesh.write_obj(layout.mesh(frame, ".obj"), model, overwrite=True)


def _statistics(layout: mf.Layout, frames: list[mf.Frame]) -> mf.Statistics:
    """Means, and one variance for all texels and one for all coordinates.

    Computed from the written files, so that a resumed run gives the same values.
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
