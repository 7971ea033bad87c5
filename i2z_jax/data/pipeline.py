# SPDX-License-Identifier: Apache-2.0
"""Built datasets as sources of examples: decoded, joined, paired.

`records.py` says what is on disk; here a record becomes an example, a dictionary of
NumPy arrays of fixed shapes, which `augment.py` changes and `batches.py` puts into
batches:

    views = Views(directory, "train")
    augment = partial(augment_regression, size=256)
    batches = endless(Stream(views, 64, augment), seed=0, workers=8)

Text does not travel: every example carries `index`, its row in the dataset, and
`source.record(index)` has the rest.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from i2z_jax.data.batches import Example, Source
from i2z_jax.data.capture_source import CaptureSource, capture_sources
from i2z_jax.data.images import decode, decode_texture
from i2z_jax.data.records import (
    IBUG,
    MULTIVIEW,
    VIDEO,
    has_view_textures,
    open_frames,
    open_split,
)
from i2z_jax.errors import InputError
from i2z_jax.geometry.camera import project_calibrated
from i2z_jax.geometry.crop import apply_affine
from i2z_jax.geometry.topology import landmark_points
from i2z_jax.types import Int, NDArray
from i2z_jax.wording import counted

# What a view can bring beside its small fields. "texture" is what this camera saw,
# "average_texture" the mean over the cameras of its frame.
ViewField = Literal["image", "vertices", "texture", "average_texture"]

_VIEW_NUMBERS = ("pose", "view", "camera", "source", "frame_index")
_VIDEO_NUMBERS = ("frame", "time_s")
_VIDEO_TRUTH = ("has_truth", "pose", "vertices", "landmarks", "z")


class Views:
    """Views of a multiview capture, each with what belongs to its frame.

    Vertices and average textures are on disk once per frame, not once per camera, and
    are looked up here. Textures that are not asked for are not read: one of 1024²
    costs 15 to 60 times what a crop does (docs/notes/pipeline.md).

    Args:
        directory: a built multiview capture.
        split: "train", "test", "camera", "test_camera", or a TFDS expression.
        fields: the large fields to bring.
        tables: more fields, precomputed once per frame: arrays indexed by
            `frame_index`, such as {"z": (frames, 128)} from the DAM's encoder.
        cached_frames: decoded frames that each worker keeps; with average textures
            of 1024² each takes 3 MB.

    Raises:
        InputError: not built, no such split, a field that was built without, or a
            table that does not have a row per frame.
    """

    def __init__(
        self,
        directory: str | Path,
        split: str,
        *,
        fields: tuple[ViewField, ...] = ("image", "vertices"),
        tables: Mapping[str, np.ndarray] | None = None,
        cached_frames: int = 32,
    ):
        self._views = open_split(directory, MULTIVIEW, split, config="views")
        self._frames = open_frames(directory)
        if "texture" in fields:
            if not has_view_textures(directory):
                raise InputError(
                    "views have no textures",
                    where=directory,
                    fix="build it with textures",
                )
            self._textures = open_split(
                directory, MULTIVIEW, split, config="view_textures"
            )
        if "average_texture" in fields:
            self._averages = open_frames(directory, "frame_textures")
        self._fields, self._tables = fields, dict(tables or {})
        self._cache: dict[int, Example] = {}
        self._cached_frames = cached_frames
        for name, table in self._tables.items():
            if len(table) != len(self._frames):
                raise InputError(
                    f"table {name!r} is of another capture",
                    where=directory,
                    expected=counted(len(self._frames), "row"),
                    got=len(table),
                )

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> Example:
        record = self._views[index]
        example = _numbers(record, _VIEW_NUMBERS)
        if "image" in self._fields:
            example["image"] = decode(record["image"])
        if "texture" in self._fields:
            example["texture"] = decode_texture(self._textures[index])
        row = int(record["frame_index"])
        tables = {name: table[row] for name, table in self._tables.items()}
        return {**example, **self._frame(row), **tables, "index": np.int32(index)}

    def record(self, index: int) -> dict[str, Any]:
        """The view as stored, text included."""
        return self._views[index]

    def _frame(self, row: int) -> Example:
        wanted = {"vertices", "average_texture"}.intersection(self._fields)
        if not wanted:
            return {}
        frame = self._cache.pop(row, None)
        if frame is None:
            frame = {}
            if "vertices" in wanted:
                frame["vertices"] = self._frames[row]["vertices"]
            if "average_texture" in wanted:
                frame["average_texture"] = decode_texture(self._averages[row])
        self._cache[row] = frame  # last in the dictionary = used last
        if len(self._cache) > self._cached_frames:
            del self._cache[next(iter(self._cache))]
        return frame


class LandmarkPictures:
    """Pictures of a 300-W folder with 68 landmarks and a face box.

    Pictures have their own sizes: `augment_landmarks` makes crops of one size.
    """

    def __init__(self, directory: str | Path, split: str):
        self._records = open_split(directory, IBUG, split)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[index]
        return {
            "image": decode(record["image"]),
            "landmarks": record["landmarks"],
            "box": record["box"],
            "index": np.int32(index),
        }

    def record(self, index: int) -> dict[str, Any]:
        """The picture as stored, text included."""
        return self._records[index]


class ViewLandmarks:
    """Views of a capture as pictures with 68 landmarks: the mesh's, where each camera
    sees them. Not by H, which knows no perspective: a pixel of 128 beside it.

    Raises:
        InputError: a source of the capture has no topology, or no landmark map.
    """

    def __init__(self, directory: str | Path, split: str):
        self._views = open_split(directory, MULTIVIEW, split, config="views")
        self._frames = open_frames(directory)
        # For each frame: `world_from_head` and the landmarks on the head, a few numbers
        # that all of its views ask for.
        self._points: dict[int, tuple[NDArray, NDArray]] = {}
        self._sources: dict[int, CaptureSource] = capture_sources(directory)
        for source in self._sources.values():
            # Now, and not in the middle of a run: has it a landmark map?
            landmark_points(
                source.topology, np.zeros((source.topology.vertex_count, 3))
            )

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> Example:
        record = self._views[index]
        source, row = self._sources[int(record["source"])], int(record["frame_index"])
        camera = source.cameras[int(record["camera"])]
        if row not in self._points:
            frame = self._frames[row]
            points = landmark_points(source.topology, frame["vertices"])
            self._points[row] = frame["world_from_head"], points
        seen, _ = project_calibrated(
            camera.intrinsics, camera.camera_from_world, *self._points[row]
        )
        marks = apply_affine(record["crop_from_image"], seen)
        return {
            "image": decode(record["image"]),
            "landmarks": np.asarray(marks, np.float32),
            "index": np.int32(index),
        }


class InTurn:
    """Examples of several sources, each as often; a shorter one comes round again."""

    def __init__(self, *sources: Source):
        self._sources = sources

    def __len__(self) -> int:
        return len(self._sources) * max(map(len, self._sources))

    def __getitem__(self, index: int) -> Example:
        row, which = divmod(index, len(self._sources))
        source = self._sources[which]
        return source[row % len(source)]


class VideoFrames:
    """Crops of a video in order, with ground truth where there is some.

    Args:
        directory: a built monocular video dataset.
        truth: also bring `pose`, `vertices`, `landmarks` and `has_truth`.
    """

    def __init__(self, directory: str | Path, *, truth: bool = False):
        self.directory = directory
        self._records = open_split(directory, VIDEO, "train")
        self._truth = truth

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[index]
        names = _VIDEO_NUMBERS + (_VIDEO_TRUTH if self._truth else ())
        example = _numbers(record, names)
        return {**example, "image": decode(record["image"]), "index": np.int32(index)}

    def record(self, index: int) -> dict[str, Any]:
        """The frame as stored, text included."""
        return self._records[index]

    def columns(self, *names: str) -> dict[str, NDArray]:
        """Small fields of all frames, a row a frame.

        One record is in memory at a time: they hold the pictures of a whole video.
        """
        columns: dict[str, list] = {name: [] for name in names}
        for index in range(len(self)):
            record = self.record(index)
            for name, column in columns.items():
                column.append(record[name])
        return {name: np.array(column) for name, column in columns.items()}


def _numbers(record: Mapping[str, Any], names: tuple[str, ...]) -> Example:
    """Fields as arrays. TFDS makes Python numbers of scalars, which forgets int32."""
    return {
        name: np.int32(value) if type(value) is int else np.asarray(value)
        for name in names
        for value in (record[name],)
    }


def pair_starts(video: VideoFrames) -> Int[NDArray, "m"]:
    """Frames t of a video such that t and t + 1 show one moment and the next.

    A pair is left out when t + 1 does not continue t (a cut, a gap, another video) or
    repeats it. A repetition may be the first of a pair: it shows what the frame before
    it showed, so a video at half its container's rate loses no moment.

    Raises:
        InputError: no two frames in a row.
    """
    flags = video.columns("cut", "duplicate")
    starts = np.flatnonzero(~(flags["cut"] | flags["duplicate"])[1:].astype(bool))
    if not len(starts):
        raise InputError(
            "no two consecutive frames",
            where=video.directory,
            expected="a moving video, not a cut or a repeat at every frame",
        )
    return starts
