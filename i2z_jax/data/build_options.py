# SPDX-License-Identifier: Apache-2.0
"""What a build of a dataset can be told; `i2z data build` has these as its options.

The comments over the fields are what its help says.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class BuildOptions:
    """What is the same for every dataset."""

    # Processes (threads for one video).
    workers: int = 1
    # Fail on the first thing that is missing, instead of counting it.
    strict: bool = False
    # Replace a dataset that is there, when the new one is whole.
    overwrite: bool = False
    # At most this many frames: of a capture spread over it, of a video its first,
    # of each 300-W split its first pictures.
    max_frames: int | None = None


@dataclass(frozen=True)
class MultiviewOptions:
    """Which part of a capture is built, and how large."""

    # Side of the face crops, pixels.
    crop_size: int = 256
    # Side of the textures, texels; a capture of smaller ones keeps its own.
    texture_size: int = 1024
    # Store the texture unwrapped from each camera. Without, a view takes about a tenth
    # of the space; `train dam` and the texture errors of `evaluate` need them.
    view_textures: bool = True
    # png is lossless and about four times as large.
    image_codec: Literal["png", "jpeg"] = "jpeg"
    # docs/data.md has what each costs in space and time.
    texture_codec: Literal["png", "jpeg", "webp"] = "jpeg"
    # Segments to build: names or patterns such as 'E0*'.
    segments: tuple[str, ...] = ("*",)
    # Cameras to build: names or patterns such as '4000*'.
    cameras: tuple[str, ...] = ("*",)
    # Segments held out for split `test`.
    test_segments: tuple[str, ...] = ("EXP_ROM*", "EXP_free_face*")
    # Cameras held out for splits `camera` and `test_camera`.
    test_cameras: tuple[str, ...] = ()
    # Faces, UVs and landmarks of the mesh (.obj or .npz), in place of the capture's own
    # topology.npz or of its .obj files.
    topology: Path | None = None


@dataclass(frozen=True)
class MonocularOptions:
    """What a crop of a video is."""

    # Side of the face crops, pixels.
    crop_size: int = 256
    # png is lossless and about four times as large.
    codec: Literal["png", "jpeg"] = "jpeg"
    # Boxes or landmarks for each frame, instead of the detector: .npz with `boxes`
    # (frames x 4) or `landmarks` (frames x 68 x 2), or .csv with the columns
    # frame,left,top,right,bottom. Pixels.
    boxes: Path | None = None
