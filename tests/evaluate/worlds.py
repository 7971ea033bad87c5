# SPDX-License-Identifier: Apache-2.0
"""Small worlds in which the right answer is known: datasets, and networks that know it.

An oracle recognises a picture by comparing it with all there are, and answers with its
labels, changed by what a test wants to find in the scores.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.checkpoint import ModelCard
from i2z_jax.config import DAMConfig, HourglassConfig, I2ZConfig, VGGConfig
from i2z_jax.data import images
from i2z_jax.data.build_multiview import build
from i2z_jax.data.build_options import BuildOptions, MultiviewOptions
from i2z_jax.data.finish import finish
from i2z_jax.data.pipeline import Views
from i2z_jax.geometry import topology as topologies
from i2z_jax.geometry.camera import project_weak
from i2z_jax.models.dam import Posterior
from i2z_jax.models.i2znet import I2ZOutput
from i2z_jax.system import System
from tests.data import tiny_datasets
from tests.data.captures import TEXTURE, egg, egg_topology, write_capture

SIDE = 64
CAPTURE = MultiviewOptions(
    crop_size=SIDE, texture_size=TEXTURE, image_codec="png", texture_codec="png"
)


def topology() -> topologies.Topology:
    """The egg with regions and with landmarks on triangles that face the front."""
    base, points = egg_topology(), egg()
    front = np.argsort(-points[base.faces].mean(1)[:, 2])[:68].astype(np.int32)
    return replace(
        base,
        regions={
            "eyes": (points[:, 1] > 30) & (points[:, 2] > 0),
            "mouth": (points[:, 1] < -30) & (points[:, 2] > 0),
        },
        landmark_faces=front,
        landmark_barycentric=np.full((68, 3), 1 / 3, np.float32),
    )


def capture(folder: Path) -> Path:
    """A built capture: 6 training frames, 3 held out, three cameras each."""
    source = write_capture(folder / "capture")
    topologies.save(source / "topology.npz", topology(), overwrite=True)
    build((source,), folder / "built", BuildOptions(), CAPTURE)
    return folder / "built"


def video(folder: Path, poses: np.ndarray, vertices: np.ndarray, **fields: Any) -> Path:
    """A built video with truth, crops of 64 px that lie still in a 128 px frame.

    Args:
        fields: more fields of the records, a row a frame.
    """
    rng = np.random.default_rng(5)
    points = topologies.landmark_points(topology(), np.float32(vertices))
    landmarks = (project_weak(np.float32(poses), points)[..., :2] + 1) * SIDE / 2
    examples = [
        {
            "image": images.encode(tiny_datasets.picture(rng, SIDE), "png"),
            "video": "clip.mp4",
            "frame": i,
            "time_s": i / 30,
            "box": np.float32([0, 0, SIDE, SIDE]),
            "box_found": True,
            "crop_from_image": np.float32([[0.5, 0, 0], [0, 0.5, 0]]),
            "duplicate": False,
            "cut": i == 0,
            "has_truth": True,
            "pose": np.float32(poses[i]),
            "vertices": np.float32(vertices[i]),
            "landmarks": np.float32(landmarks[i]),
            "z": np.zeros(0, np.float32),
            **{name: values[i] for name, values in fields.items()},
        }
        for i in range(len(poses))
    ]
    name = "monocular_video"
    counts = tiny_datasets.write(folder, name, "train", examples)
    finish(folder, name, [folder], [], counts, [], [])
    return folder


def landmark_pictures(folder: Path, count: int = 5) -> Path:
    """A built ibug_300w with split `common`; the box is that of the landmarks."""
    rng = np.random.default_rng(6)
    examples = []
    for i in range(count):
        points = np.float32(rng.uniform(30, 66, (68, 2)))
        box = np.concatenate([points.min(0), points.max(0)])
        examples.append(
            {
                "image": images.encode(tiny_datasets.picture(rng, 96), "png"),
                "landmarks": points,
                "box": box,
                "box_source": "landmarks" if i else "detector",
                "id": f"{i}.png",
                "crop_from_image": np.eye(2, 3, dtype=np.float32),
            }
        )
    counts = tiny_datasets.write(folder, "ibug_300w", "common", examples)
    finish(folder, "ibug_300w", [folder], [], counts, [], [])
    return folder


def _arrays(cls):
    return jax.tree_util.register_dataclass(dataclass(cls))


def recognised(image, known):
    """Which of the known pictures each image is; [0, 1]."""
    difference = image[:, None] - known[None]
    return jnp.argmin(jnp.sum(difference**2, (-3, -2, -1)), -1)


@_arrays
class OracleNet:
    """z is the number of the frame, and the pose the label's, plus what a test adds."""

    known: Any
    z: Any
    pose: Any
    pose_mean: Any
    change: Any

    def __call__(self, image):
        index = recognised(image, self.known)
        return I2ZOutput(self.z[index], self.pose[index] + self.change[None], None)


@_arrays
class OracleStatistics:
    vert_mean: Any
    tex_mean: Any


@_arrays
class OracleDAM:
    """Meshes and textures by frame number; textures also by camera."""

    meshes: Any
    textures: Any
    statistics: Any
    change: Any

    def encode(self, vertices, texture):
        far = vertices[:, None] - self.meshes[None]
        index = jnp.argmin(jnp.sum(far**2, (-2, -1)), -1)
        z = jnp.stack([index, 0 * index], -1).astype(jnp.float32)
        return Posterior(z, jnp.zeros_like(z))

    def decode_vertices(self, z):
        return self.meshes[z[:, 0].astype(int)] + self.change[None, None]

    def decode_texture(self, z, view, camera=None):
        return self.textures[z[:, 0].astype(int), camera]


def oracle(
    directory: Path,
    split: str,
    *,
    pose=(0.0,) * 6,
    vertices=(0.0,) * 3,
    texture: float = 0.0,
) -> System:
    """A system that knows a split of `capture`; labels plus the given changes."""
    source = Views(directory, split, fields=("image", "vertices", "texture"))
    views = [source[i] for i in range(len(source))]
    frames = 1 + max(int(v["frame_index"]) for v in views)
    meshes = np.zeros((frames, *views[0]["vertices"].shape), np.float32)
    textures = np.zeros((frames, 3, TEXTURE, TEXTURE, 3), np.float32)
    for view in views:
        meshes[view["frame_index"]] = view["vertices"]
        shown = np.float32(view["texture"]) / 255
        textures[view["frame_index"], view["camera"]] = shown
    z = np.float32([[v["frame_index"], 0] for v in views])
    poses = np.stack([v["pose"] for v in views])
    net = OracleNet(
        jnp.stack([v["image"] for v in views]) / 255,
        jnp.asarray(z),
        jnp.asarray(poses),
        jnp.asarray(poses.mean(0)),
        jnp.float32(pose),
    )
    dam = OracleDAM(
        jnp.asarray(meshes),
        jnp.asarray(textures + np.float32(texture)),
        OracleStatistics(
            jnp.asarray(meshes[z[:, 0].astype(int)].mean(0)),
            jnp.zeros((TEXTURE, TEXTURE, 3)),
        ),
        jnp.float32(vertices),
    )
    return _system(net, dam, len(meshes[0]))


def video_oracle(
    images_u8: np.ndarray, poses: np.ndarray, vertices: np.ndarray
) -> System:
    """A system that knows the frames of a video."""
    z = np.zeros((len(poses), 4), np.float32)  # as the cards have it
    z[:, 0] = np.arange(len(poses))
    net = OracleNet(
        jnp.asarray(images_u8) / 255,
        jnp.asarray(z),
        jnp.asarray(poses, jnp.float32),
        jnp.zeros(6),
        jnp.zeros(6),
    )
    dam = OracleDAM(
        jnp.asarray(vertices, jnp.float32),
        jnp.zeros((len(poses), 1, TEXTURE, TEXTURE, 3)),
        OracleStatistics(jnp.zeros(3), jnp.zeros((TEXTURE, TEXTURE, 3))),
        jnp.zeros(3),
    )
    return _system(net, dam, vertices.shape[1])


def _system(net: Any, dam: Any, vertices: int) -> System:
    return System(net, dam, topology(), *cards(vertices))


def cards(vertices: int, variant: Any = "vgg+skip+key") -> tuple[ModelCard, ModelCard]:
    """Of networks that are as small as they get."""
    i2z = I2ZConfig(
        variant=variant,
        image_size=SIDE,
        vgg=VGGConfig(depth=16, channels=(4, 8, 16, 16, 16)),
        hourglass=HourglassConfig(stacks=1, stem=(4, 8), features=8, depth=2),
        z_size=4,
        level_size=8,
        hidden=(8,),
    )
    dam = DAMConfig(z_size=4, vertices=vertices, texture_size=TEXTURE, cameras=3)
    return ModelCard("i2znet", i2z, "none"), ModelCard("dam", dam, "none")
