# SPDX-License-Identifier: Apache-2.0
"""The ground-truth sidecar of a video: `clip.mp4` has `clip.truth.npz` beside it.

`i2z synth video` writes one, the video builder and the evaluation read it. Arrays, one
row a frame of the video (f frames, n vertices):

| name | type | |
|---|---|---|
| pose | float32 f 6 | H of a square crop of the frame, DESIGN 5 |
| crop_from_image | float32 f 2 3 | that crop: frame pixels -> crop pixels |
| crop_size | int32 | its side, pixels |
| vertices | float32 f n 3 | head space, mm |
| landmarks | float32 f 68 2 | pixels of the frame, or absent |
| z | float32 f z | a DAM's code of mesh and lab-lit texture, or absent |
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2z_jax.errors import InputError
from i2z_jax.files import open_npz, write_npz
from i2z_jax.geometry.crop import (
    apply_affine,
    compose,
    invert,
    transform_pose,
    unit_affine,
)
from i2z_jax.types import Float, NDArray
from i2z_jax.wording import counted

# Fields that a sidecar may lack.
OPTIONAL = ("landmarks", "z")


@dataclass(frozen=True)
class VideoTruth:
    """What is known of every frame of a video; the fields are in the module's table."""

    pose: Float[NDArray, "f 6"]
    crop_from_image: Float[NDArray, "f 2 3"]
    crop_size: int
    vertices: Float[NDArray, "f n 3"]
    landmarks: Float[NDArray, "f 68 2"] | None = None
    z: Float[NDArray, "f z"] | None = None

    def in_crop(
        self, frame: int, crop_from_image: Float[NDArray, "2 3"], size: int
    ) -> tuple[Float[NDArray, "6"], Float[NDArray, "68 2"] | None]:
        """Pose and landmarks of a frame in another crop of it."""
        known = self.crop_from_image[frame].astype(float)
        to_crop = compose(crop_from_image, invert(known))
        pose = transform_pose(
            self.pose[frame].astype(float), unit_affine(to_crop, self.crop_size, size)
        )
        if self.landmarks is None:
            return np.asarray(pose), None
        points = self.landmarks[frame].astype(float)
        return np.asarray(pose), np.asarray(apply_affine(crop_from_image, points))

    def save(self, path: str | Path) -> None:
        """Write the sidecar; an existing one is replaced."""
        arrays = {
            "pose": self.pose.astype(np.float32),
            "crop_from_image": self.crop_from_image.astype(np.float32),
            "crop_size": np.int32(self.crop_size),
            "vertices": self.vertices.astype(np.float32),
        }
        for name in OPTIONAL:
            if (value := getattr(self, name)) is not None:
                arrays[name] = value.astype(np.float32)
        write_npz(path, arrays, compressed=True)


def truth_path(video: str | Path) -> Path:
    """Where the sidecar of a video, or of a folder of frames, is."""
    video = Path(video)
    return video.with_name(f"{video.name if video.is_dir() else video.stem}.truth.npz")


def read_truth(path: str | Path) -> VideoTruth:
    """Load a sidecar.

    Raises:
        InputError: damaged, a field missing, or fields that disagree in length.
    """
    try:
        with open_npz(path) as file:
            fields = {name: file[name] for name in file.files}
        truth = VideoTruth(
            fields["pose"],
            fields["crop_from_image"],
            int(fields["crop_size"]),
            fields["vertices"],
            **{name: fields.get(name) for name in OPTIONAL},
        )
    except KeyError as error:
        raise InputError(f"no field {error}", where=path) from error
    except Exception as error:  # zip, header and type errors of a damaged file
        raise InputError(f"not a ground-truth sidecar ({error})", where=path) from error
    lengths = {
        len(value)
        for value in (
            truth.pose,
            truth.crop_from_image,
            truth.vertices,
            truth.landmarks,
            truth.z,
        )
        if value is not None
    }
    if len(lengths) != 1:
        raise InputError(
            "fields of different length", where=path, got=f"{sorted(lengths)} frames"
        )
    return truth


def truth_of(video: Path, frames: int, limit: int | None = None) -> VideoTruth | None:
    """What is known of a video, if anything is: a row for each of its frames.

    One of other frames, as after a change of frame rate, would teach and measure lies.

    Args:
        frames: how many were read of it.
        limit: how many at most.

    Raises:
        InputError: a damaged sidecar, or one of another number of frames.
    """
    where = truth_path(video)
    if not where.exists():
        return None
    truth = read_truth(where)
    known, cut_short = len(truth.pose), frames == limit
    if known < frames or (known > frames and not cut_short):
        raise InputError(
            "ground truth of another video",
            where=where,
            expected=f"{counted(frames, 'frame')}, as {video.name} has",
            got=known,
            fix="cut it as the video was cut, or move it away to build without",
        )
    return truth
