# SPDX-License-Identifier: Apache-2.0
"""Pictures of the demo's page, made from its stages' outputs."""

from pathlib import Path

import numpy as np

from i2z_jax.data.images import decode, encode, read_picture
from i2z_jax.data.multiface import Capture
from i2z_jax.data.pipeline import VideoFrames, Views
from i2z_jax.data.video import read_frames
from i2z_jax.drawing import fitted, grid, narrowed
from i2z_jax.evaluate.pictures import draw_mesh, frontal_pose
from i2z_jax.geometry import topology as topologies
from i2z_jax.report.page import Picture
from i2z_jax.spacing import evenly_spaced
from i2z_jax.types import NDArray, UInt8

# Side of a small picture, and the widest one, px.
SIDE, WIDEST = 200, 1400
# Moments of the capture, and crops of the lab and of the video, in their pictures.
MOMENTS, CROPS = 3, 5


def stage_pictures(folder: Path) -> Picture:
    """Frames of a capture, one per row, from all cameras."""
    capture = Capture(folder)
    rows = []
    for place in evenly_spaced(len(capture.frames), MOMENTS + 2)[1:-1]:
        frame = capture.frames[place]
        files = [capture.paths.image(frame, name) for name in capture.cameras]
        seen = [read_picture(file) for file in files if file.exists()]
        rows.append(np.hstack([fitted(image, SIDE) for image in seen]))
    return encoded(
        np.vstack(rows),
        f"{MOMENTS} of {len(capture.frames)} moments, as the {len(capture.cameras)} "
        "cameras of the stage saw them: raw, as such cameras are.",
    )


def model_pictures(folder: Path) -> list[Picture]:
    """What is known of one moment of a capture: mesh and texture."""
    capture = Capture(folder)
    frame = capture.frames[len(capture.frames) // 2]
    vertices = capture.vertices(*frame)
    topology = topologies.load(capture.paths.topology)
    mesh = draw_mesh(vertices, frontal_pose(vertices, 0.5), topology, 2 * SIDE)
    texture = read_picture(capture.paths.texture(frame))
    return [
        encoded(mesh, f"The mesh of a moment: {len(vertices)} vertices, in mm."),
        encoded(
            fitted(texture, 2 * SIDE),
            "Its texture: every camera's picture, laid flat and averaged.",
        ),
    ]


def lab_and_wild(data: Path) -> Picture:
    """Crops as the network gets them: the lab's above, the video's below."""
    views, frames = Views(data, "train", fields=("image",)), VideoFrames(data)
    # Shifted by k so that the camera changes too: neighbours are views of one frame.
    lab = [
        views[i + k]["image"]
        for k, i in enumerate(evenly_spaced(len(views) - 5, CROPS))
    ]
    wild = [frames[i]["image"] for i in evenly_spaced(len(frames), CROPS)]
    rows = [np.hstack([fitted(image, SIDE) for image in row]) for row in (lab, wild)]
    return encoded(
        np.vstack(rows),
        "What the network is given: above from the stage, which it has learned from; "
        "below from the video.",
    )


def frames_of(video: Path, count: int, caption: str) -> Picture:
    """Frames spread over a video: all in a row, or two a row if they are wide."""
    total = sum(1 for _ in read_frames(video))
    wanted = set(evenly_spaced(total, count))
    kept = [f.image for f in read_frames(video) if f.number in wanted]
    shown = [image for image in kept if image is not None]
    height, width = shown[0].shape[:2]
    columns = 2 if width > height else len(shown)
    return encoded(grid(shown, columns, blank=255), caption)


def stored(path: Path, caption: str) -> Picture:
    """A picture that a stage wrote."""
    return encoded(decode(path.read_bytes()), caption)


def encoded(image: UInt8[NDArray, "h w 3"], caption: str) -> Picture:
    """WebP, at most `WIDEST` px wide."""
    return Picture(encode(narrowed(image, WIDEST), "webp"), caption)
