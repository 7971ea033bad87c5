# SPDX-License-Identifier: Apache-2.0
"""The stages at a size that compiles in seconds, on examples that need no files."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from i2z_jax.config import DAMConfig, HourglassConfig, I2ZConfig, VGGConfig
from i2z_jax.models.dam import DAM
from i2z_jax.models.hourglass import Hourglass
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.parameters import Keys
from i2z_jax.objectives.dam import DAMWeights
from i2z_jax.objectives.regress import RegressWeights
from i2z_jax.train.run import fresh_module
from i2z_jax.train.stages import Stage, dam_stage, landmarks_stage, regress_stage
from tests.models.weights import random_module

HOURGLASS = HourglassConfig(stacks=1, stem=(4, 8), features=8, depth=1)
NET = I2ZConfig(
    image_size=32,
    vgg=VGGConfig(depth=16, channels=(4, 4, 8, 8, 16)),
    hourglass=HOURGLASS,
    z_size=8,
    level_size=32,
    hidden=(64, 32),
)
FACE = DAMConfig(z_size=8, vertices=50, texture_size=32, cameras=2)
# Kernels of this many elements count as large here.
LARGE = 2048


def tiny_stage(name: str, mesh: Any) -> Stage:
    texels = jnp.ones((FACE.texture_size, FACE.texture_size))
    match name:
        case "landmarks":
            net = fresh_module(lambda: Hourglass(HOURGLASS, rngs=Keys(0)), mesh)
            return landmarks_stage(net)
        case "dam":
            dam = fresh_module(lambda: DAM(FACE, rngs=Keys(0)), mesh)
            return dam_stage(dam, weights=DAMWeights(), texel_weight=texels)
        case "regress":
            # As a command has them: the decoder from a folder, on one device.
            net = fresh_module(lambda: I2ZNet(NET, rngs=Keys(0)), mesh)
            dam = random_module("dam", FACE, seed=1)
            dam.statistics.set(vert_var=1.0, tex_var=1.0)
            return regress_stage(
                net,
                dam,
                weights=RegressWeights(),
                texel_weight=texels,
                image_size=NET.image_size,
            )
    raise KeyError(name)


class Examples:
    """Example i of a stage, a function of i."""

    def __init__(self, stage: str, count: int = 64):
        self.stage, self.count = stage, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(index)

        def picture(size: int) -> np.ndarray:
            return rng.integers(1, 255, (size, size, 3), dtype=np.uint8)

        def normal(*shape: int) -> np.ndarray:
            return rng.normal(size=shape).astype(np.float32)

        size = NET.image_size
        if self.stage == "landmarks":
            landmarks = rng.uniform(4, size - 4, (68, 2)).astype(np.float32)
            return {"image": picture(size), "landmarks": landmarks}
        vertices = normal(FACE.vertices, 3)
        if self.stage == "dam":
            view = normal(3)
            return {
                "vertices": vertices,
                "average_texture": picture(FACE.texture_size),
                "texture": picture(FACE.texture_size),
                "view": view / np.linalg.norm(view),
                "camera": np.int32(index % FACE.cameras),
            }
        pose = 0.1 * normal(6) + np.float32([0.3, 0, 0, 0, 0, 0])
        return {
            "image": picture(size),
            "z": normal(FACE.z_size),
            "pose": pose,
            "vertices": vertices,
        }
