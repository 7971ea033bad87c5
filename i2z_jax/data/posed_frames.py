# SPDX-License-Identifier: Apache-2.0
"""A capture and 2D landmarks of its pictures -> what `derive_landmark_map` needs."""

from pathlib import Path

import numpy as np

from i2z_jax import console
from i2z_jax.data.ibug import read_pts
from i2z_jax.data.images import read_picture
from i2z_jax.data.multiface import Capture, Frame
from i2z_jax.errors import InputError
from i2z_jax.geometry.landmark_map import PosedFrame
from i2z_jax.types import NDArray
from i2z_jax.wording import counted

# Side of Multiface's pictures, px, where there are none.
PICTURE_SIZE = 2048


def posed_frames(capture: Capture, landmarks: Path) -> tuple[list[PosedFrame], int]:
    """Frames whose landmarks two or more cameras see.

    Views whose `.pts` cannot be read and frames without a mesh or a head pose are left
    out, and a line says so.

    Args:
        capture: mesh, head pose and cameras.
        landmarks: folder of SEGMENT/CAMERA/FRAME.pts; any may be missing.

    Returns:
        the frames, and the longer side of the pictures, px.

    Raises:
        InputError: there is no such frame.
    """
    frames, size, gaps = [], 0, []
    for frame in console.progress(capture.frames, "frames"):
        marks, damaged = _marks(capture, frame, landmarks)
        gaps += damaged
        if len(marks) < 2:
            continue
        try:
            frames.append(_posed(capture, frame, marks))
            size = size or _side(capture.paths.image(frame, next(iter(marks))))
        except InputError as error:
            gaps.append(str(error))
    if gaps:
        console.err.print(f"{counted(len(gaps), 'gap')}, the first: {gaps[0]}")
    if not frames:
        raise InputError(
            "no frame with landmarks in two views",
            where=landmarks,
            expected="SEGMENT/CAMERA/FRAME.pts, named as the capture's images",
        )
    return frames, size or PICTURE_SIZE


def _side(picture: Path) -> int:
    """The longer one, px; 0 if the picture cannot be read, which is no harm here."""
    try:
        return max(read_picture(picture).shape)
    except InputError:
        return 0


def _marks(
    capture: Capture, frame: Frame, landmarks: Path
) -> tuple[dict[str, NDArray], list[str]]:
    """The landmarks of a frame, px, by the camera that sees them; and what is wrong
    with those that cannot be read."""
    marks, damaged = {}, []
    for name in capture.cameras:
        path = landmarks / frame.segment / name / f"{frame.number}.pts"
        try:
            if path.is_file():
                marks[name] = read_pts(path)
        except InputError as error:
            damaged.append(str(error))
    return marks, damaged


def _posed(capture: Capture, frame: Frame, marks: dict[str, NDArray]) -> PosedFrame:
    rigid = np.vstack([capture.world_from_head(*frame), [0.0, 0.0, 0.0, 1.0]])
    cameras = [capture.cameras[name] for name in marks]
    return PosedFrame(
        capture.vertices(*frame).astype(float),
        np.array([c.intrinsics @ c.camera_from_world @ rigid for c in cameras]),
        np.array(list(marks.values())),
    )
