# SPDX-License-Identifier: Apache-2.0
"""The two cameras: weak perspective in a crop, and the calibrated one of a capture.

Frames (DESIGN section 5; every other file refers to here):

- **head**: mm, x to the subject's left, y up, z out of the face;
- **world**: mm, the capture's own; `world_from_head` = [Rf | tf], 3x4;
- **camera**: x right, y down, z away from the camera; `camera_from_world` = [R | t];
- **pixels**: x right, y down, the centre of the first pixel at (0.5, 0.5);
- **crop**: x right, y down, both in [-1, 1]; pixel = (p + 1) / 2 * size.

A head pose H = (f, rx, ry, rz, tx, ty) is the weak-perspective camera
`p = f (R(r) G)_xy + t` with `R(r) = Rz(rz) Ry(ry) Rx(rx) diag(1, -1, -1)`, f in 1/mm:
r = 0 looks straight into the face. All functions take NumPy or JAX arrays and keep
their precision.
"""

from typing import NamedTuple

from i2z_jax.errors import InputError
from i2z_jax.geometry.rotation import matrix_from_euler, rotate
from i2z_jax.types import ArrayLike, Float


def view_from_head(pose: Float[ArrayLike, "*b 6"]) -> Float[ArrayLike, "*b 3 3"]:
    """The rotation R(r) of a head pose: head space to camera axes."""
    xp = pose.__array_namespace__()
    upright = xp.asarray([1.0, -1.0, -1.0], dtype=pose.dtype)
    rotation = matrix_from_euler(pose[..., 1:4])
    return rotation * upright.reshape((1,) * (rotation.ndim - 1) + (3,))


def project_weak(
    pose: Float[ArrayLike, "*b 6"], vertices: Float[ArrayLike, "*b n 3"]
) -> Float[ArrayLike, "*b n 3"]:
    """Weak-perspective projection into the crop.

    Returns:
        x and y in [-1, 1] where visible, and the depth `(R G)_z` in mm, which grows
        away from the camera and is 0 in the plane of the head's origin.
    """
    return _to_crop(pose, rotate(vertices, view_from_head(pose)))


def _to_crop(
    pose: Float[ArrayLike, "*b 6"], seen: Float[ArrayLike, "*b n 3"]
) -> Float[ArrayLike, "*b n 3"]:
    """Scale and shift of a pose, for points in camera axes."""
    xp = pose.__array_namespace__()
    flat = pose[..., 0, None, None] * seen[..., :2] + pose[..., None, 4:6]
    return xp.concatenate([flat, seen[..., 2:]], axis=-1)


# A phone at arm's length, mm.
ARM_LENGTH_MM = 550.0
# Nearer than this no face fits into a picture.
NEAREST_MM = 150.0
# Added to variances of points, mm²: of too few they are 0.
RIDGE_MM2 = 1e-2


def nearness_of(distance_mm: float) -> float:
    """The nearness of a camera, 1/mm, of its distance from the head.

    Raises:
        InputError: less than `NEAREST_MM`.
    """
    if not distance_mm >= NEAREST_MM:
        raise InputError(
            "no face fits into the picture of so near a camera",
            where="--distance-mm",
            expected=f"{NEAREST_MM:.0f} or more, mm",
            got=distance_mm,
        )
    return 1 / distance_mm


def seen_from_near(
    pose: Float[ArrayLike, "*b 6"],
    vertices: Float[ArrayLike, "*b n 3"],
    nearness: Float[ArrayLike, ""],
) -> Float[ArrayLike, "*b n 3"]:
    """A mesh whose weak projection is what a near camera sees of the given one.

    Args:
        pose: the weak camera that fits the mesh best.
        vertices: the whole mesh, mm, head space.
        nearness: inverse distance of the camera, 1/mm; 0 changes nothing.
    """
    xp = pose.__array_namespace__()
    view = view_from_head(pose)
    seen = rotate(vertices, view)
    return rotate(_brought_near(seen, seen, nearness), xp.matrix_transpose(view))


def project_near(
    pose: Float[ArrayLike, "*b 6"],
    points: Float[ArrayLike, "*b p 3"],
    vertices: Float[ArrayLike, "*b n 3"],
    nearness: Float[ArrayLike, ""],
) -> Float[ArrayLike, "*b p 3"]:
    """`project_weak` as a near camera sees it.

    Args:
        pose: the weak camera that fits the mesh best.
        points: of the head, mm.
        vertices: the whole mesh.
        nearness: inverse distance of the camera, 1/mm.
    """
    view = view_from_head(pose)
    seen, mesh = rotate(points, view), rotate(vertices, view)
    return _to_crop(pose, _brought_near(seen, mesh, nearness))


def _brought_near(
    points: Float[ArrayLike, "*b p 3"],
    mesh: Float[ArrayLike, "*b n 3"],
    nearness: Float[ArrayLike, ""],
) -> Float[ArrayLike, "*b p 3"]:
    """Points in camera axes, moved by what perspective adds to the pose.

    H is the weak camera that fits the mesh in the picture best (DESIGN section 5), so
    of what perspective moves, the part that a weak camera can express is in H already,
    and is taken back, to first order in the nearness.
    """
    xp = points.__array_namespace__()
    moved = -mesh[..., 2:] * mesh[..., :2]
    held = fit_change(mesh, moved, xp.ones_like(mesh[..., 0]))
    flat, depth = points[..., :2], points[..., 2:]
    flat = (flat - nearness * held.turned(flat)) / (1 + nearness * depth)
    flat = flat - nearness * (held.tilt * depth + held.shift)
    return xp.concatenate([flat, depth], axis=-1)


class PoseChange(NamedTuple):
    """A small change of H, by what it does to points in camera axes.

    A turn out of the plane moves them by their depth.
    """

    scale: Float[ArrayLike, "*b 1 1"]
    roll: Float[ArrayLike, "*b 1 1"]
    tilt: Float[ArrayLike, "*b 1 2"]
    shift: Float[ArrayLike, "*b 1 2"]

    def turned(self, flat: Float[ArrayLike, "*b n 2"]) -> Float[ArrayLike, "*b n 2"]:
        """What scale and roll do to x and y."""
        return self.scale * flat + self.roll * _quarter_turn(flat)

    def moved(self, points: Float[ArrayLike, "*b n 3"]) -> Float[ArrayLike, "*b n 2"]:
        """How far points move in the picture."""
        return self.turned(points[..., :2]) + self.tilt * points[..., 2:] + self.shift


def fit_change(
    points: Float[ArrayLike, "*b n 3"],
    moved: Float[ArrayLike, "*b n 2"],
    weight: Float[ArrayLike, "*b n"],
) -> PoseChange:
    """The change of H that moves points as given, by weighted least squares.

    In closed form: to solve many small systems a TPU gathers them from all devices.

    Args:
        points: in camera axes, mm.
        moved: in the picture, any unit.
        weight: of each point; where all are 0 nothing changes.
    """
    xp = points.__array_namespace__()
    share = weight / xp.maximum(xp.sum(weight, axis=-1, keepdims=True), 1e-6)

    def mean(x):
        return xp.sum(share[..., None] * x, axis=-2, keepdims=True)

    def product(a, b):
        return mean(xp.sum(a * b, axis=-1, keepdims=True))

    flat, depth = points[..., :2], points[..., 2:]
    x, p, z = (y - mean(y) for y in (moved, flat, depth))
    # Of either, what depth explains, and the rest.
    spread = product(z, z) + RIDGE_MM2
    tilt, slant = mean(z * x) / spread, mean(z * p) / spread
    x, p = x - tilt * z, p - slant * z
    size = product(p, p) + RIDGE_MM2
    turn = PoseChange(
        product(p, x) / size, product(_quarter_turn(p), x) / size, tilt, mean(moved)
    )
    tilt = tilt - turn.turned(slant)
    shift = mean(moved) - turn.turned(mean(flat)) - tilt * mean(depth)
    return turn._replace(tilt=tilt, shift=shift)


def _quarter_turn(flat: Float[ArrayLike, "*b n 2"]) -> Float[ArrayLike, "*b n 2"]:
    """By 90 degrees, x to y."""
    xp = flat.__array_namespace__()
    return xp.stack([-flat[..., 1], flat[..., 0]], axis=-1)


def view_direction(pose: Float[ArrayLike, "*b 6"]) -> Float[ArrayLike, "*b 3"]:
    """Unit vector from the head to the (infinitely far) camera, in head space."""
    return -view_from_head(pose)[..., 2, :]


def project_calibrated(
    intrinsics: Float[ArrayLike, "*b 3 3"],
    camera_from_world: Float[ArrayLike, "*b 3 4"],
    world_from_head: Float[ArrayLike, "*b 3 4"],
    vertices: Float[ArrayLike, "*b n 3"],
) -> tuple[Float[ArrayLike, "*b n 2"], Float[ArrayLike, "*b n"]]:
    """Multiface's projection `K (R (Rf v + tf) + t)`, without lens distortion.

    Returns:
        pixels, and the depth in mm along the optical axis. The pixels of a point
        with depth <= 0 (behind the camera) mean nothing.
    """
    world = transform_points(world_from_head, vertices)
    camera = transform_points(camera_from_world, world)
    image = rotate(camera, intrinsics)
    return image[..., :2] / image[..., 2:], camera[..., 2]


def transform_points(
    rigid: Float[ArrayLike, "*b 3 4"], points: Float[ArrayLike, "*b n 3"]
) -> Float[ArrayLike, "*b n 3"]:
    """Points moved by a 3x4 matrix [R | t]."""
    return rotate(points, rigid[..., :3]) + rigid[..., None, :, 3]


def camera_position(
    camera_from_world: Float[ArrayLike, "3 4"], world_from_head: Float[ArrayLike, "3 4"]
) -> Float[ArrayLike, "3"]:
    """The optical centre in head space, mm."""
    world = -camera_from_world[:, :3].T @ camera_from_world[:, 3]
    return world_from_head[:, :3].T @ (world - world_from_head[:, 3])


def camera_direction(
    camera_from_world: Float[ArrayLike, "3 4"], world_from_head: Float[ArrayLike, "3 4"]
) -> Float[ArrayLike, "3"]:
    """Unit vector from the head's origin to the camera, in head space.

    It is the view vector Multiface's decoder was trained with.
    """
    position = camera_position(camera_from_world, world_from_head)
    xp = position.__array_namespace__()
    return position / xp.linalg.vector_norm(position)
