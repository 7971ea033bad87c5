# SPDX-License-Identifier: Apache-2.0
"""A multiview capture in Multiface layout: where its files are, and what they hold.

The layout of the Multiface dataset (Wuu et al. 2022) is the capture format, real or
synthetic (DESIGN section 7):

    KRT                                     calibrated cameras, see `krt.py`
    frame_list.txt                          "segment frame" a line; written last
    images/SEG/CAM/FRAME.png
    unwrapped_uv_1024/SEG/CAM/FRAME.png     one texture a camera, 0 where unseen
    unwrapped_uv_1024/SEG/average/FRAME.png
    tracked_mesh/SEG/FRAME.bin              float32 n 3, head space, mm
    tracked_mesh/SEG/FRAME.obj              the same with UVs (some frames, or all)
    tracked_mesh/SEG/FRAME_transform.txt    world_from_head, 3 rows of 4
    tex_mean.png, tex_var.txt               textures in 0..255; *scalar* variances
    vert_mean.bin, vert_var.txt             mm, mm^2
    topology.npz                            ours, see `geometry/topology.py`; optional

The textures' name keeps its 1024 at any size. Texture **files** have v = 0 in their
last row; in memory row 0 is v = 0, so readers and writers here flip them.

Real captures have gaps: any frame of the list may lack an image, a texture or a mesh.
`Capture` therefore only promises what the four root files say; paths are to be tested
by who reads them, `vertices` and `world_from_head` raise.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from i2z_jax.data import images
from i2z_jax.data.krt import CalibratedCamera, read_krt
from i2z_jax.errors import InputError
from i2z_jax.files import read_text, reading, visible, write_bytes, write_text
from i2z_jax.types import Float, NDArray, UInt8

# A line of a frame list; no segment is a path that leads elsewhere.
_FRAME = re.compile(r"(?!\.+\s)[^\s/\\]+\s+\d+")
# The folder that stands beside the cameras' and holds the mean over them.
AVERAGE = "average"


class Frame(NamedTuple):
    """One moment of a capture. `number` is the stem of its files, often 6 digits."""

    segment: str
    number: str


class Statistics(NamedTuple):
    """What textures and vertices are normalised with; variances are scalars."""

    texture_mean: Float[NDArray, "t t 3"]
    """0..255, row 0 at v = 0."""
    texture_variance: float
    vertex_mean: Float[NDArray, "n 3"]
    """mm"""
    vertex_variance: float


@dataclass(frozen=True)
class Layout:
    """The names of a capture's files. Nothing is read, nothing need exist."""

    root: Path

    @property
    def krt(self) -> Path:
        return self.root / "KRT"

    @property
    def frame_list(self) -> Path:
        return self.root / "frame_list.txt"

    @property
    def topology(self) -> Path:
        return self.root / "topology.npz"

    def images(self, segment: str) -> Path:
        return self.root / "images" / segment

    def image(self, frame: Frame, camera: str) -> Path:
        return self.images(frame.segment) / camera / f"{frame.number}.png"

    def texture(self, frame: Frame, camera: str = AVERAGE) -> Path:
        folder = self.root / "unwrapped_uv_1024" / frame.segment / camera
        return folder / f"{frame.number}.png"

    def mesh(self, frame: Frame, suffix: str = ".bin") -> Path:
        return self.root / "tracked_mesh" / frame.segment / f"{frame.number}{suffix}"

    def transform(self, frame: Frame) -> Path:
        return self.mesh(frame, "_transform.txt")


class Capture:
    """A capture on disk, opened.

    Attributes:
        paths: where each file is (`paths.image(frame, camera)`, ...).
        frames: as listed, in order, each once.
        segments: their names, in order of appearance.
        cameras: name -> camera, in KRT order (the decoder's colour rows follow it).

    Raises:
        InputError: no capture, an unfinished one, or a damaged KRT or frame list.
    """

    def __init__(self, root: str | Path):
        self.paths = Layout(Path(root))
        if not self.paths.frame_list.is_file():
            raise InputError(
                "not a finished capture in Multiface layout",
                where=root,
                expected="frame_list.txt (written last), KRT, images, tracked_mesh",
            )
        self.frames = _read_frame_list(self.paths.frame_list)
        self.segments = list(dict.fromkeys(frame.segment for frame in self.frames))
        self.cameras: dict[str, CalibratedCamera] = read_krt(self.paths.krt)

    def vertices(self, segment: str, number: str) -> Float[NDArray, "n 3"]:
        """The tracked mesh of a frame, float32, head space, mm.

        Raises:
            InputError: no mesh for this frame, or not the vertex count of the others.
        """
        path = self.paths.mesh(Frame(segment, number))
        return read_vertices(path, count=self.vertex_count)

    def world_from_head(self, segment: str, number: str) -> Float[NDArray, "3 4"]:
        """The head's rigid pose in a frame, float64, mm.

        Raises:
            InputError: no pose for this frame, or not 3 rows of 4 numbers.
        """
        return read_transform(self.paths.transform(Frame(segment, number)))

    def filmed_by(self, segment: str) -> set[str]:
        """The cameras that a segment has images of, in KRT or not."""
        folder = self.paths.images(segment)
        return {path.name for path in visible(folder)} if folder.is_dir() else set()

    @cached_property
    def vertex_count(self) -> int:
        """Vertices of the capture's mesh, from `vert_mean.bin`."""
        return len(read_vertices(self.paths.root / "vert_mean.bin"))

    @cached_property
    def statistics(self) -> Statistics:
        """The four statistics files.

        Raises:
            InputError: one of them is missing or damaged.
        """
        return read_statistics(self.paths.root)


def read_statistics(root: Path) -> Statistics:
    """The four statistics files of a folder, which need not be a whole capture.

    Raises:
        InputError: one of them is missing or damaged.
    """
    return Statistics(
        read_texture(root / "tex_mean.png").astype(np.float32),
        _read_variance(root / "tex_var.txt"),
        read_vertices(root / "vert_mean.bin"),
        _read_variance(root / "vert_var.txt"),
    )


def read_vertices(
    path: str | Path, *, count: int | None = None
) -> Float[NDArray, "n 3"]:
    """A `.bin` mesh: float32 triples.

    Args:
        path: the file.
        count: how many vertices it must have.

    Raises:
        InputError: missing, of another size, or with values that are not finite.
    """
    with reading(path):
        values = np.fromfile(path, "<f4")
    size = values.size
    if size == 0 or size % 3 or (count is not None and size != 3 * count):
        expected = "float32 triples" if count is None else f"{3 * count} float32"
        raise InputError(
            "not this topology's vertices", where=path, expected=expected,
            got=f"{size} float32",
        )  # fmt: skip
    if not np.isfinite(values).all():
        raise InputError(
            "vertices are not finite",
            where=path,
            got=f"{np.sum(~np.isfinite(values))} NaN or infinite coordinates",
        )
    return values.reshape(-1, 3)


def read_transform(path: str | Path) -> Float[NDArray, "3 4"]:
    """A `_transform.txt`: 3 rows of 4 numbers, [Rf | tf], head -> world, mm.

    Raises:
        InputError: missing, or something else, such as a pose that scales.
    """
    rows = _read_rows(path)
    if [len(row) for row in rows] != [4, 4, 4] or not np.isfinite(rows).all():
        raise InputError(
            "not a head pose", where=path, expected="3 rows of 4 finite numbers"
        )
    pose = np.array(rows)
    turn = pose[:, :3]
    if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-2) or np.linalg.det(turn) < 0:
        raise InputError(
            "not a head pose", where=path, expected="[R | t] with a rotation R"
        )
    return pose


def read_texture(path: str | Path) -> UInt8[NDArray, "t t 3"]:
    """A texture file, RGB, row 0 at v = 0.

    Raises:
        InputError: unreadable, or not square.
    """
    texture = images.read_picture(path)
    height, width = texture.shape[:2]
    if height != width:
        raise InputError(
            "a texture is square", where=path, got=f"{width} x {height} pixels"
        )
    return texture[::-1]


def write_frame_list(path: str | Path, frames: list[Frame]) -> None:
    """Name the frames of a capture; the last file to write, it makes it whole."""
    write_text(path, "".join(f"{f.segment} {f.number}\n" for f in frames))


def write_transform(path: str | Path, world_from_head: Float[NDArray, "3 4"]) -> None:
    """The inverse of `read_transform`, to the last bit."""
    rows = (" ".join(repr(float(x)) for x in row) for row in world_from_head)
    write_text(path, "\n".join(rows) + "\n")


def write_vertices(path: str | Path, vertices: Float[NDArray, "n 3"]) -> None:
    """The inverse of `read_vertices`."""
    write_bytes(path, np.ascontiguousarray(vertices, "<f4").tobytes())


def write_statistics(layout: Layout, statistics: Statistics) -> None:
    """The four statistics files."""
    root = layout.root
    mean = np.clip(np.rint(statistics.texture_mean), 0, 255).astype(np.uint8)
    write_bytes(root / "tex_mean.png", images.encode(mean[::-1], "png"))
    write_text(root / "tex_var.txt", f"{statistics.texture_variance!r}\n")
    write_vertices(root / "vert_mean.bin", statistics.vertex_mean)
    write_text(root / "vert_var.txt", f"{statistics.vertex_variance!r}\n")


def _read_frame_list(path: Path) -> list[Frame]:
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        if not _FRAME.fullmatch(line):
            raise InputError(
                f"line {number} is no frame",
                where=path,
                expected="SEGMENT FRAME, the name of a folder and a number",
                got=repr(line),
            )
    if not lines:
        raise InputError("no frames", where=path)
    return list(dict.fromkeys(Frame(*line.split()) for line in lines))


def _read_variance(path: Path) -> float:
    rows = _read_rows(path)
    values = [value for row in rows for value in row]
    if len(values) != 1 or not 0 < values[0] < np.inf:
        raise InputError(
            "not a variance",
            where=path,
            expected="one positive number",
            got=f"{len(values)} numbers" if len(values) != 1 else values[0],
        )
    return values[0]


def _read_rows(path: str | Path) -> list[list[float]]:
    lines = read_text(path).splitlines()
    try:
        return [[float(x) for x in line.split()] for line in lines if line]
    except ValueError as error:
        raise InputError(f"not a table of numbers ({error})", where=path) from error
