# SPDX-License-Identifier: Apache-2.0
"""A track as one animated glTF 2.0 file (`mesh.glb`): Blender and browsers open it.

One mesh with morph targets (`morphs`), whose weights are animated at the video's own
times; a node with the head's rotation, translation and scale; an orthographic camera
that matches the video frame, through which the mesh looks as in the overlay of a far
camera (`--distance-mm inf`). How far the morphs are from the decoded vertices is stated
in `asset.extras`.

Written by hand from the specification (Khronos glTF 2.0, sections 3 and 4.4): the
container is a header, one JSON chunk and one binary chunk.
"""

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from i2z_jax import __version__
from i2z_jax.data.images import encode
from i2z_jax.files import json_text
from i2z_jax.geometry.topology import Topology
from i2z_jax.report.head_motion import CAMERA_Z, FAR, METRES, NEAR, head_motion
from i2z_jax.report.morphs import Morphs
from i2z_jax.track.result import Status, Track
from i2z_jax.types import Float, Int, NDArray, UInt8

# From the key that holds a shot's last pose to the cut, s: displays hardly ever show a
# moment in between, and Blender, which merges keys within 0.01 of a frame, keeps both.
HOLD_S = 1e-3

# Numbers of the specification.
FLOAT, UNSIGNED_INT = 5126, 5125
ARRAY_BUFFER, ELEMENT_BUFFER = 34962, 34963
CLAMP_TO_EDGE, LINEAR_MIPMAP, LINEAR = 33071, 9987, 9729
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


def write_glb(
    path: Path,
    track: Track,
    shape: Morphs,
    topology: Topology,
    texture: UInt8[NDArray, "t t 3"],
) -> None:
    """Write the animated mesh.

    Keys are those of `head_motion`: frames without a face hold the last one that had
    one, which `extras` lists, and a cut is a jump.

    Args:
        path: the file.
        track: poses and times of all frames, at least one of them usable.
        shape: morphs of the usable frames.
        topology: faces and UVs.
        texture: row 0 is v = 0.
    """
    times = (track.time_s - track.time_s[0]).astype(np.float32)
    motion = head_motion(track, times, HOLD_S)
    weights = shape.weights[motion.row]
    head = {
        "rotation": motion.rotation,
        "translation": motion.translation,
        "scale": motion.scale,
    }

    binary = _Binary()
    mesh = _mesh(binary, shape, topology, weights[0])
    picture = binary.view(encode(np.ascontiguousarray(texture[::-1]), "jpeg"))
    half_width, half_height = (motion.frame_metres(track.frame_size) / 2).tolist()
    camera = {"xmag": half_width, "ymag": half_height, "znear": NEAR, "zfar": FAR}
    animated = {**head, "weights": weights.reshape(-1)}
    if not len(shape.targets):
        del animated["weights"]
    time_accessor = binary.array(motion.time, bounds=True)
    samplers = [
        {"input": time_accessor, "output": binary.array(values)}
        for values in animated.values()
    ]
    channels = [
        {"sampler": number, "target": {"node": 0, "path": name}}
        for number, name in enumerate(animated)
    ]
    first = {name: values[0].tolist() for name, values in head.items()}
    content = {
        "asset": {
            "version": "2.0",
            "generator": f"i2z_jax {__version__}",
            "extras": _extras(track, shape, motion.pixels_per_mm),
        },
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [
            {"name": "head", "mesh": 0, **first},
            {"name": "video", "camera": 0, "translation": [0, 0, CAMERA_Z]},
        ],
        "cameras": [{"type": "orthographic", "orthographic": camera}],
        "meshes": [mesh],
        # The light is in the texture already.
        "materials": [
            {
                "name": "face",
                "doubleSided": True,
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": 0},
                    "metallicFactor": 0,
                },
                "extensions": {"KHR_materials_unlit": {}},
            }
        ],
        "textures": [{"source": 0, "sampler": 0}],
        "images": [{"bufferView": picture, "mimeType": "image/jpeg"}],
        "samplers": [
            {
                "wrapS": CLAMP_TO_EDGE,
                "wrapT": CLAMP_TO_EDGE,
                "minFilter": LINEAR_MIPMAP,
                "magFilter": LINEAR,
            }
        ],
        "animations": [{"name": "track", "samplers": samplers, "channels": channels}],
        "accessors": binary.accessors,
        "bufferViews": binary.views,
        "buffers": [{"byteLength": len(binary.data)}],
    }
    path.write_bytes(container(content, bytes(binary.data)))


def container(content: dict[str, Any], binary: bytes) -> bytes:
    """A GLB: header, JSON chunk, binary chunk, each a multiple of four bytes."""
    text = json_text(content).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


class _Binary:
    """The binary chunk, and what the JSON says of it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, **facts: int) -> int:
        """Append bytes, on a multiple of four; returns the view's number."""
        self.data += bytes(-len(self.data) % 4)
        place = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.views.append(place | facts)
        self.data += data
        return len(self.views) - 1

    def array(
        self, values: NDArray, *, bounds: bool = False, target: int | None = None
    ) -> int:
        """Append an array, a row an element; returns the accessor's number."""
        whole = np.issubdtype(values.dtype, np.integer)
        values = np.ascontiguousarray(values, np.uint32 if whole else np.float32)
        facts = {} if target is None else {"target": target}
        width = values.shape[1] if values.ndim == 2 else 1
        accessor: dict[str, Any] = {
            "bufferView": self.view(values.tobytes(), **facts),
            "componentType": UNSIGNED_INT if whole else FLOAT,
            "count": len(values),
            "type": KINDS[width],
        }
        if bounds:
            rows = values.reshape(len(values), width)
            accessor["min"] = rows.min(axis=0).tolist()
            accessor["max"] = rows.max(axis=0).tolist()
        self.accessors.append(accessor)
        return len(self.accessors) - 1


class _Corners(NamedTuple):
    """A mesh whose vertices have one UV each: seam vertices are duplicated."""

    vertex: Int[NDArray, "m"]
    uv: Float[NDArray, "m 2"]
    faces: Int[NDArray, "tri 3"]


def _split(topology: Topology) -> _Corners:
    pairs = np.stack([topology.faces.reshape(-1), topology.uv_faces.reshape(-1)], -1)
    unique, index = np.unique(pairs, axis=0, return_inverse=True)
    return _Corners(unique[:, 0], topology.uvs[unique[:, 1]], index.reshape(-1, 3))


def _mesh(
    binary: _Binary, shape: Morphs, topology: Topology, weights: Float[NDArray, "k"]
) -> dict[str, Any]:
    corners = _split(topology)

    def positions(values: Float[NDArray, "n 3"]) -> int:
        metres = values[corners.vertex] * np.float32(METRES)
        return binary.array(metres, bounds=True, target=ARRAY_BUFFER)

    # A picture's v grows downwards here.
    uv = corners.uv * [1, -1] + [0, 1]
    primitive: dict[str, Any] = {
        "attributes": {
            "POSITION": positions(shape.base),
            "TEXCOORD_0": binary.array(uv, target=ARRAY_BUFFER),
        },
        "indices": binary.array(corners.faces.reshape(-1), target=ELEMENT_BUFFER),
        "material": 0,
    }
    mesh: dict[str, Any] = {"name": "face", "primitives": [primitive]}
    if len(shape.targets):
        primitive["targets"] = [{"POSITION": positions(t)} for t in shape.targets]
        mesh["weights"] = weights.tolist()
    if shape.names:
        # Where Blender, three.js and Unreal look for them.
        mesh["extras"] = {"targetNames": list(shape.names)}
    return mesh


def _extras(track: Track, shape: Morphs, per_mm: float) -> dict[str, Any]:
    bridged = track.status == Status.INTERPOLATED
    return {
        "vertex_error_mm": {
            "worst": shape.worst_mm,
            "mean": float(shape.frame_mm.mean()),
        },
        "video": track.video,
        "frames": len(track),
        "frames_per_second": track.fps,
        "held_frames": np.flatnonzero(~track.usable).tolist(),
        "interpolated_frames": np.flatnonzero(bridged).tolist(),
        "frame_size": track.frame_size.tolist(),
        "pixels_per_metre": per_mm / METRES,
    }
