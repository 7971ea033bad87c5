# SPDX-License-Identifier: Apache-2.0
"""A small system with random weights, and clips of a head that is a disc."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from i2z_jax.checkpoint import ModelCard
from i2z_jax.config import DAMConfig, HourglassConfig, I2ZConfig, VGGConfig
from i2z_jax.geometry.blendshapes import BlendShapes
from i2z_jax.geometry.topology import Topology
from i2z_jax.models.dam import DAM
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.parameters import Keys
from i2z_jax.system import System, save_system

SIDE = 13  # vertices along a side of the face's grid
CROP = 64


def topology() -> Topology:
    """A bulging mask, 160 x 200 mm, with 68 landmarks spread over its middle."""
    cells = np.arange((SIDE - 1) ** 2)
    first = cells // (SIDE - 1) * SIDE + cells % (SIDE - 1)
    lower = np.stack([first, first + 1, first + SIDE], axis=-1)
    upper = np.stack([first + 1, first + SIDE + 1, first + SIDE], axis=-1)
    faces = np.concatenate([lower, upper]).astype(np.int32)
    line = np.linspace(0, 1, SIDE)
    uvs = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2).astype(np.float32)
    centres = uvs[faces].mean(axis=1)
    middle = np.flatnonzero(np.abs(centres - 0.5).max(axis=1) < 0.42)
    chosen = middle[np.linspace(0, len(middle) - 1, 68).astype(int)]
    return Topology(
        faces=faces,
        uvs=uvs * 0.96 + 0.02,
        uv_faces=faces.copy(),
        vertex_count=SIDE**2,
        landmark_faces=chosen.astype(np.int32),
        landmark_barycentric=np.full((68, 3), 1 / 3, np.float32),
    )


def average() -> np.ndarray:
    """Vertices of the mask, mm."""
    line = np.linspace(-1, 1, SIDE)
    x, y = (a.reshape(-1) for a in np.meshgrid(line, line))
    return np.stack([80 * x, 100 * y, 60 * (1 - x**2 - y**2 / 2)], axis=-1)


def blend_shapes() -> BlendShapes:
    """Two waves over the mask, in centimetres."""
    x, y, _ = (average() / [80, 100, 60]).T
    waves = [np.sin(3 * x), np.cos(2 * y)]
    moves = np.stack([wave[:, None] * [0.0, 0.0, 1.0] for wave in waves])
    return BlendShapes(("across", "along"), average() / 10, moves)


def system(*, z_size: int = 8, decoder_z_size: int | None = None) -> System:
    """Random weights; the pose is about that of a face that fills its crop."""
    i2z = I2ZConfig(
        image_size=CROP,
        vgg=VGGConfig(depth=16, channels=(4, 4, 8, 8, 8)),
        hourglass=HourglassConfig(stacks=1, stem=(4, 8), features=8),
        z_size=z_size,
        level_size=8,
        hidden=(16,),
    )
    shape = topology()
    dam_config = DAMConfig(
        z_size=decoder_z_size or z_size,
        vertices=shape.vertex_count,
        texture_size=32,
    )
    net, dam = I2ZNet(i2z, rngs=Keys(0)), DAM(dam_config, rngs=Keys(1))
    net.pose_mean[...] = jnp.array([0.0055, 0.1, -0.2, 0.05, 0.02, 0.03])
    net.pose_std[...] = jnp.array([0.0002, 0.3, 0.3, 0.2, 0.05, 0.05])
    # Faces that move: random weights say nearly the same of every picture.
    last = net.z_regressor.layers[-1].kernel
    last[...] = 200.0 * last[...]
    dam.statistics.set(
        vert_mean=average(), vert_var=40.0, tex_mean=np.full((32, 32, 3), 0.7),
        tex_var=0.001,
    )  # fmt: skip
    cards = (ModelCard("i2znet", i2z, "none"), ModelCard("dam", dam_config, "none"))
    return System(net, dam, shape, *cards)


def save(folder: Path, **sizes: int) -> Path:
    save_system(folder, system(**sizes))
    return folder


def picture(x: float, y: float, radius: float = 26, size=(160, 120)) -> np.ndarray:
    """A bright disc on a ramp."""
    width, height = size
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    image = np.stack([columns * 60 / width, rows * 60 / height, 40 + 0 * rows], -1)
    disc = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    image[disc] = np.stack([200 + 0 * rows, 120 + rows / 2, 90 + columns / 4], -1)[disc]
    return image.astype(np.uint8)


def detect_disc(image: np.ndarray) -> np.ndarray:
    """What a detector says: left, top, right, bottom and score of the disc, if any."""
    rows, columns = np.nonzero(image.max(axis=-1) > 150)
    if not len(rows):
        return np.empty((0, 5))
    x, y = columns.mean() + 0.5, rows.mean() + 0.5
    return np.array([[x - 22, y - 22, x + 22, y + 22, 5.0]])


def write_boxes(path: Path, centres: list[tuple[float, float] | None]) -> Path:
    """A box file: 44 px boxes around the centres, no row where there is none."""
    rows = [
        f"{i},{c[0] - 22},{c[1] - 22},{c[0] + 22},{c[1] + 22}"
        for i, c in enumerate(centres)
        if c is not None
    ]
    path.write_text("\n".join(["frame,left,top,right,bottom", *rows]) + "\n")
    return path
