# SPDX-License-Identifier: Apache-2.0
"""`track.npz`: all that is known of every frame (docs/track.md has the schema).

Written and read without pickles. Poses are those of the crops, as the network says
them; `frame_pose` moves them into the picture, where they can be compared over time.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from i2z_jax.data.frame_rate import frames_per_second
from i2z_jax.errors import InputError
from i2z_jax.files import open_npz
from i2z_jax.geometry.camera import project_near
from i2z_jax.geometry.crop import (
    apply_affine,
    image_from_unit,
    invert,
    pixels_from_unit,
    transform_pose,
)
from i2z_jax.types import Bool, Float, Int, NDArray

# Raised when the meaning of an array changes.
FORMAT = 1

CAMERA = (
    "p = f C_xy + t in [-1,1] of the crop, C = R(r) G seen from distance_mm;"
    " H = pose = f (1/mm), rx, ry, rz (rad), tx, ty, the weak camera that fits best;"
    " R(r) = Rz(rz) Ry(ry) Rx(rx) diag(1,-1,-1); x right, y down;"
    " crop px = (p+1)/2 * crop_size, frame px = inverse of crop_from_image;"
    " pixel centres at +0.5; G in mm, y up, z out of the face"
)


class Status(IntEnum):
    """How a frame's values came about; usable up to INTERPOLATED."""

    TRACKED = 0  # the detector (or the given box) saw the face in this very frame
    FOLLOWED = 1  # between detections, or by the face's own landmarks
    INTERPOLATED = 2  # lost, bridged on request
    LOST = 3  # no face, or landmarks of too little confidence; values are NaN
    UNREADABLE = 4  # the frame could not be decoded; values are NaN


@dataclass(frozen=True, eq=False)
class Track:
    """The result of a run, a row a frame. Values of frames without a face are NaN, but
    for the confidence of those that are lost by too little of it."""

    video: str
    frame_size: Int[NDArray, "2"]
    """Width, height in px."""
    crop_size: int
    distance_mm: float
    """From camera to head; infinite where perspective does not count."""
    complete: bool
    """False: the run was interrupted; the rows are the frames that were done."""
    time_s: Float[NDArray, "f"]
    status: NDArray
    """(f,) uint8, a `Status`."""
    cut: Bool[NDArray, "f"]
    """Does not continue the frame before: the first one, or after a cut or a gap in
    time. False beside a frame that could not be read, where nobody knows."""
    duplicate: Bool[NDArray, "f"]
    """Repeats the picture of the frame before."""
    box: Float[NDArray, "f 4"]
    """Face box of the detector's track, px: left, top, right, bottom."""
    crop_from_image: Float[NDArray, "f 2 3"]
    z: Float[NDArray, "f z"]
    pose: Float[NDArray, "f 6"]
    landmarks: Float[NDArray, "f l 2"]
    """Seen by the landmark stream, px of the frame."""
    landmark_confidence: Float[NDArray, "f l"]
    confidence: Float[NDArray, "f"]
    """Mean over the landmarks; NaN where the network was shown no crop, and for one
    without a landmark stream. 0 for frames that are bridged on request."""

    def __len__(self) -> int:
        return len(self.time_s)

    def __getitem__(self, rows: slice | NDArray) -> "Track":
        """Some of the frames."""
        kept = {
            f.name: value[rows]
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), np.ndarray)
            and f.name != "frame_size"
        }
        return replace(self, **kept)

    @property
    def usable(self) -> Bool[NDArray, "f"]:
        """Frames that have values."""
        return self.status <= Status.INTERPOLATED

    @property
    def fps(self) -> float:
        """Frames a second; 0 for a single picture."""
        return frames_per_second(self.time_s)

    @property
    def nearness(self) -> Float[NDArray, ""]:
        """1 / distance of the camera, 1/mm (`geometry.camera.project_near`)."""
        return np.array(1 / self.distance_mm)

    def project(
        self, points: Float[NDArray, "f p 3"], vertices: Float[NDArray, "f n 3"]
    ) -> Float[NDArray, "f p 3"]:
        """Head-space points, mm, as x and y in px of the frames, and depth in mm.

        Args:
            points: of the face in each frame.
            vertices: its whole mesh, which `pose` is the best weak camera for.
        """
        pose = self.pose.astype(np.float64)
        points = np.asarray(project_near(pose, points, vertices, self.nearness))
        pixels = pixels_from_unit(points[..., :2], self.crop_size)
        image_from_crop = np.asarray(invert(self.crop_from_image))
        flat = np.asarray(apply_affine(image_from_crop, np.asarray(pixels)))
        return np.concatenate([flat, points[..., 2:]], axis=-1)

    def frame_pose(self) -> Float[NDArray, "f 6"]:
        """Poses in the picture: f in px per mm, angles in rad, t in px."""
        unit = image_from_unit(self.crop_from_image, self.crop_size)
        return np.asarray(transform_pose(self.pose.astype(np.float64), unit))

    def with_frame_pose(self, pose: Float[NDArray, "f 6"]) -> "Track":
        """The same frames with other poses, given in the picture."""
        unit = image_from_unit(self.crop_from_image, self.crop_size)
        back = np.asarray(transform_pose(pose, np.asarray(invert(unit))))
        return replace(self, pose=back.astype(np.float32))


def save(
    path: Path,
    track: Track,
    *,
    faces: Int[NDArray, "tri 3"],
    mesh_landmarks: Float[NDArray, "f l 2"] | None,
    vertices: Iterator[Float[NDArray, "_ n 3"]] | None = None,
) -> None:
    """Write `track.npz`.

    Args:
        path: the file.
        track: the result.
        faces: triangles of the mesh, so that the file draws without a checkpoint.
        mesh_landmarks: the mesh's 68 landmarks in px of the frames.
        vertices: of all frames in order, mm, in parts of any length: they go to the
            disk one by one.
    """
    arrays: dict[str, Any] = {f.name: getattr(track, f.name) for f in fields(track)} | {
        "format": FORMAT,
        "camera": CAMERA,
        "status_names": np.array([s.name.lower() for s in Status]),
        "frame": np.arange(len(track), dtype=np.int32),
        "faces": faces,
    }
    if mesh_landmarks is not None:
        arrays["mesh_landmarks"] = mesh_landmarks.astype(np.float32)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)
        if vertices is not None:
            _write_parts(archive, "vertices", len(track), vertices)


def load(path: str | Path) -> Track:
    """Read `track.npz`.

    Raises:
        InputError: not a track, or of a newer format.
    """
    try:
        with open_npz(path) as file:
            if int(file["format"]) > FORMAT:
                raise InputError(
                    "written by a newer i2z_jax", where=path, got=int(file["format"])
                )
            values: dict[str, Any] = {f.name: file[f.name] for f in fields(Track)}
        kinds = {"video": str, "crop_size": int, "distance_mm": float, "complete": bool}
        for name, kind in kinds.items():
            values[name] = kind(values[name])
        return Track(**values)
    except InputError:
        raise
    except Exception as error:  # whatever the zip or a header runs into
        raise InputError(f"not a track ({error})", where=path) from error


def _write_parts(
    archive: zipfile.ZipFile,
    name: str,
    rows: int,
    parts: Iterator[Float[NDArray, "_ n 3"]],
) -> None:
    """One float32 array whose rows come in parts."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        for number, part in enumerate(parts):
            if number == 0:
                header = {
                    "descr": "<f4",
                    "fortran_order": False,
                    "shape": (rows, *part.shape[1:]),
                }
                np.lib.format.write_array_header_2_0(file, header)
            file.write(np.ascontiguousarray(part, "<f4").tobytes())
