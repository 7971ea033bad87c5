# SPDX-License-Identifier: Apache-2.0
"""Renders one frame of a capture.

Camera images, per-camera textures and their average. Images are linear in light, as
Multiface's are; each camera has its own colour gain. Per-camera textures are what that
camera saw, 0 on texels it did not see; the average weights cameras by the cosine of the
viewing angle.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.data.multiface import AVERAGE
from i2z_jax.geometry.camera import camera_position
from i2z_jax.geometry.fit import require_in_front
from i2z_jax.synth.motion import chain, rigid
from i2z_jax.synth.rig import Rig, capture_rig
from i2z_jax.synth.subject import Subject, face_centre
from i2z_jax.synth.view import Cameras, photograph, to_bytes
from i2z_jax.types import Float, NDArray, UInt8

# Pixels or texels rendered in one go: bounds memory, whatever the number of cameras.
BATCH_PIXELS = 2**20
# Image size used for visibility only; the images are discarded.
PROBE_SIZE = {"width": 224, "height": 256}

# An expression -> its mesh, and the average texture as a capture would hold it.
LabView = Callable[
    [Float[NDArray, "k"]], tuple[Float[NDArray, "n 3"], UInt8[NDArray, "t t 3"]]
]


class Seen(NamedTuple):
    """One frame: mesh, and by camera name images and textures (and the average)."""

    vertices: Float[NDArray, "n 3"]
    images: dict[str, UInt8[NDArray, "h w 3"]]
    textures: dict[str, UInt8[NDArray, "t t 3"]]


class CaptureStage:
    """A subject under fixed light in front of fixed cameras, compiled once.

    Args:
        subject: who is captured.
        rig: the cameras.
        width: of the pictures, px.
        height: of the pictures, px.
        seed: of the background colours.
    """

    def __init__(
        self, subject: Subject, rig: Rig, *, width: int, height: int, seed: int
    ):
        self.rig, self.width, self.height = rig, width, height
        self.mesh = subject.mesh
        self.shade = jax.jit(jax.vmap(subject.shade, in_axes=(None, 0, None)))
        pixels = max(width * height, subject.texture_size**2)
        self.batch = max(1, BATCH_PIXELS // pixels)
        self.vertices = jax.jit(subject.head.vertices)
        # Dim backgrounds: a stage is dark, and no two cameras look at the same wall.
        corners = np.random.default_rng(seed).uniform(
            0.01, 0.06, (len(rig.cameras), 2, 2, 3)
        )
        self.wall_corners = jnp.asarray(corners, jnp.float32)

    def photograph(
        self, weights: Float[NDArray, "k"], world_from_head: Float[NDArray, "3 4"]
    ) -> Seen:
        """Render one frame with every camera.

        Args:
            weights: of the head's expressions.
            world_from_head: the head's pose, mm.

        Raises:
            InputError: a camera inside the head, or behind it.
        """
        cameras = self.rig.cameras.values()
        rigid_heads = [c.camera_from_world for c in cameras]
        vertices = self.vertices(jnp.asarray(weights, jnp.float32))
        checked = np.asarray(vertices, float)
        for name, camera in self.rig.cameras.items():
            _, depth = camera.project(world_from_head, checked)
            require_in_front(depth, camera=f"camera {name}")
        from_head = [chain(c, world_from_head) for c in rigid_heads]
        positions = [camera_position(c, world_from_head) for c in rigid_heads]
        images, textures = {}, {}
        names, lenses = list(self.rig.cameras), [c.intrinsics for c in cameras]
        total, weight_sum = 0.0, 0.0
        for start in range(0, len(names), self.batch):
            some = slice(start, start + self.batch)
            standing = jnp.asarray(np.array(positions[some]), jnp.float32)
            gains = jnp.asarray(self.rig.gains[some], jnp.float32)[:, None, None]
            shaded = self.shade(vertices, standing, None)
            shaded = jnp.clip(shaded * gains, 0, 1)
            views = photograph(
                self.mesh,
                vertices,
                shaded,
                Cameras(
                    jnp.asarray(np.array(lenses[some]), jnp.float32),
                    jnp.asarray(np.array(from_head[some]), jnp.float32),
                ),
                height=self.height,
                width=self.width,
            )
            walls = jax.image.resize(
                self.wall_corners[some], views.image.shape, "linear"
            )
            whole = views.image + (1 - views.mask[..., None]) * walls
            weight = views.seen[..., None]
            total = total + jnp.sum(shaded * weight, axis=0)
            weight_sum = weight_sum + jnp.sum(weight, axis=0)
            images |= dict(zip(names[some], to_bytes(whole), strict=True))
            seen = to_bytes(shaded * (weight > 0))
            textures |= dict(zip(names[some], seen, strict=True))
        textures[AVERAGE] = to_bytes(total / jnp.maximum(weight_sum, 1e-6))
        return Seen(np.asarray(vertices), images, textures)


def lab_view(subject: Subject, cameras: int) -> LabView:
    """A function from an expression to its mesh and average texture, as captured.

    The result is what `i2z synth capture` would write with its default stage.

    Args:
        subject: who; the textures have its texture size.
        cameras: of the stage. Their number and the default seed decide where they
            stand, so this is the captured rig unless the capture had another seed.
    """
    rig = capture_rig(cameras, np.random.default_rng(0), **PROBE_SIZE)
    stage = CaptureStage(subject, rig, **PROBE_SIZE, seed=0)
    still = rigid(np.zeros(3), np.zeros(3), face_centre(subject.head))
    at_rest = chain(rig.world_from_stage, still)

    def capture(weights):
        seen = stage.photograph(weights, at_rest)
        return seen.vertices, seen.textures[AVERAGE]

    return capture
