# SPDX-License-Identifier: Apache-2.0
"""Cameras around the face, as a capture stage has them (DESIGN section 8).

Measured on Multiface's KRT: cameras about 1.08 m from the head on its frontal side,
focal length 7700 px for pictures 2048 px high, the world's origin in one frontal
camera (y down, z towards the head).
"""

from dataclasses import dataclass

import numpy as np

from i2z_jax.data.krt import CalibratedCamera
from i2z_jax.errors import InputError
from i2z_jax.types import Float, NDArray

STAGE_DISTANCE_MM = 1080.0
FOCAL_IN_HEIGHTS = 7700.0 / 2048.0
# Half angles of the camera dome: sideways, up, down (rad).
YAW, UP, DOWN = np.radians([75.0, 35.0, 45.0])
# Sensors differ by a few percent a channel.
GAIN_SPREAD = 0.025
# Standard deviations of mounting errors: distance and aim (mm), roll (rad), relative
# focal length.
DISTANCE_SPREAD_MM, AIM_SPREAD_MM, ROLL_SPREAD, FOCAL_SPREAD = 25.0, 8.0, 0.02, 0.01


@dataclass(frozen=True)
class Rig:
    """Calibrated cameras by name, with their colour gains."""

    cameras: dict[str, CalibratedCamera]
    gains: Float[NDArray, "c 3"]
    """Colour gain of each camera; the first is the reference, 1."""
    world_from_stage: Float[NDArray, "3 4"]
    """Stage: head space of a head at rest, looking into the first camera."""

    def first(self, count: int) -> "Rig":
        """The rig's first `count` cameras."""
        some = dict(list(self.cameras.items())[:count])
        return Rig(some, self.gains[:count], self.world_from_stage)


def capture_rig(
    count: int, rng: np.random.Generator, *, width: int, height: int
) -> Rig:
    """Cameras spread evenly over the frontal field; the first one looks straight in.

    Args:
        count: how many.
        rng: for the mounting errors and colour gains.
        width: of the pictures, px.
        height: of the pictures, px; the focal length follows it.
    """
    directions = _directions(count)
    positions, rotations = [], []
    for direction in directions:
        distance = STAGE_DISTANCE_MM + rng.normal() * DISTANCE_SPREAD_MM
        aim = rng.normal(size=3) * AIM_SPREAD_MM
        position = distance * direction
        positions.append(position)
        rotations.append(look_at(position, aim, rng.normal() * ROLL_SPREAD))
    # The first camera becomes the world.
    world_from_stage = np.column_stack([rotations[0], -rotations[0] @ positions[0]])
    cameras = {}
    for number, (position, rotation) in enumerate(
        zip(positions, rotations, strict=True)
    ):
        relative = rotation @ rotations[0].T
        origin = relative @ rotations[0] @ (positions[0] - position)
        focal = height * FOCAL_IN_HEIGHTS * (1 + rng.normal() * FOCAL_SPREAD)
        centre = np.array([width, height]) / 2 + rng.normal(size=2) * 0.01 * height
        intrinsics = np.array(
            [[focal, 0.0, centre[0]], [0.0, focal, centre[1]], [0.0, 0.0, 1.0]]
        )
        cameras[f"4000{number + 1:02d}"] = CalibratedCamera(
            intrinsics, np.zeros(5), np.column_stack([relative, origin])
        )
    return Rig(cameras, _gains(count, rng), world_from_stage)


def look_at(
    position: Float[NDArray, "3"], target: Float[NDArray, "3"], roll: float
) -> Float[NDArray, "3 3"]:
    """Camera axes (rows x, y down, z away) of a camera in a y-up space.

    Args:
        position: where it stands.
        target: where it looks; not straight above or below.
        roll: turn about its axis, rad.
    """
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([c * right + s * down, c * down - s * right, forward])


def _directions(count: int) -> Float[NDArray, "c 3"]:
    """Unit vectors in a sunflower pattern over the field, from the middle outwards."""
    number = np.arange(count)
    radius = np.sqrt(number / max(count - 1, 1))
    turn = number * np.pi * (3 - np.sqrt(5))
    yaw = YAW * radius * np.cos(turn)
    pitch = radius * np.sin(turn)
    pitch *= np.where(pitch > 0, UP, DOWN)
    return np.stack(
        [np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)],
        axis=1,
    )


def rig_of_krt(
    cameras: dict[str, CalibratedCamera],
    rng: np.random.Generator,
    *,
    width: int,
    height: int,
) -> Rig:
    """A real stage's cameras, their pictures scaled to another size.

    The head stands where the optical axes come closest to each other, upright in a
    world that is a frontal camera's, as Multiface's is.

    Args:
        cameras: of the stage, for pictures 1334 x 2048.
        rng: for colour gains, which a KRT file does not contain.
        width: of the pictures, px.
        height: of the pictures, px; a narrower picture is cut, not squeezed.

    Raises:
        InputError: the axes do not cross.
    """
    rotations = np.array([c.camera_from_world[:, :3] for c in cameras.values()])
    shifts = np.array([c.camera_from_world[:, 3] for c in cameras.values()])
    positions = -np.einsum("cji,cj->ci", rotations, shifts)
    axes = rotations[:, 2]
    across = np.eye(3) - axes[:, :, None] * axes[:, None]
    if np.linalg.cond(across.sum(axis=0)) > 1e6:
        raise InputError(
            "the cameras do not tell where the head is",
            where="--krt",
            expected="two or more that look at it from different sides",
            got=f"{len(cameras)} with parallel axes",
        )
    meeting = np.linalg.solve(
        across.sum(axis=0), np.einsum("cij,cj->i", across, positions)
    )
    zoom = height / 2048.0
    to_size = np.array(
        [[zoom, 0.0, (width - 1334.0 * zoom) / 2], [0.0, zoom, 0.0], [0.0, 0.0, 1.0]]
    )
    scaled = {
        name: camera._replace(intrinsics=to_size @ camera.intrinsics)
        for name, camera in cameras.items()
    }
    return Rig(
        scaled,
        _gains(len(cameras), rng),
        np.column_stack([np.diag([1.0, -1.0, -1.0]), meeting]),
    )


def _gains(count: int, rng: np.random.Generator) -> Float[NDArray, "c 3"]:
    gains = np.exp(rng.normal(size=(count, 3)) * GAIN_SPREAD)
    return gains / gains[:1]
