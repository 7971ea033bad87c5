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
    xp = pose.__array_namespace__()
    seen = rotate(vertices, view_from_head(pose))
    flat = pose[..., 0, None, None] * seen[..., :2] + pose[..., None, 4:6]
    return xp.concatenate([flat, seen[..., 2:]], axis=-1)


# A phone at arm's length, mm.
ARM_LENGTH_MM = 550.0
# Nearer than this no face fits into a picture.
NEAREST_MM = 150.0


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


def bring_near(
    pose: Float[ArrayLike, "*b 6"],
    vertices: Float[ArrayLike, "*b n 3"],
    nearness: Float[ArrayLike, ""],
    anchor: Float[ArrayLike, "*b 5"],
) -> Float[ArrayLike, "*b n 3"]:
    """Vertices whose weak projection is what a near camera sees of the given ones.

    x and y of camera space are divided by 1 + nearness * depth, and the anchor's motion
    is taken back; the depth stays.

    Args:
        nearness: inverse distance of the camera, 1/mm; 0 changes nothing.
        anchor: scale, tilt and shift of the whole mesh (`near_anchor`); all 0 for a
            camera whose scale at the head's origin is the pose's.
    """
    xp = pose.__array_namespace__()
    view = view_from_head(pose)
    seen = rotate(vertices, view)
    anchor = anchor[..., None, :]
    scale, tilt, shift = anchor[..., :1], anchor[..., 1:3], anchor[..., 3:]
    depth = seen[..., 2:]
    flat = seen[..., :2] * (1 - nearness * scale) / (1 + nearness * depth)
    flat = flat - nearness * (tilt * depth + shift)
    return rotate(xp.concatenate([flat, depth], axis=-1), xp.matrix_transpose(view))


def near_anchor(
    pose: Float[ArrayLike, "*b 6"], vertices: Float[ArrayLike, "*b n 3"]
) -> Float[ArrayLike, "*b 5"]:
    """The scale, tilt and shift that perspective adds and H has already.

    H is the weak camera that fits the mesh in the picture best (DESIGN section 5), so
    of what perspective moves, the part that a weak camera can express is in H already:
    `weak_motion` of the mesh, to first order in the nearness.
    """
    xp = pose.__array_namespace__()
    seen = rotate(vertices, view_from_head(pose))
    flat, depth = seen[..., :2], seen[..., 2:]
    even = xp.ones_like(depth) / depth.shape[-2]
    return xp.concatenate(weak_motion(-depth * flat, flat, depth, even), axis=-1)


def seen_from_near(
    pose: Float[ArrayLike, "*b 6"],
    vertices: Float[ArrayLike, "*b n 3"],
    nearness: Float[ArrayLike, ""],
) -> Float[ArrayLike, "*b n 3"]:
    """A whole mesh as `bring_near` moves it, anchored to itself; nearness in 1/mm."""
    return bring_near(pose, vertices, nearness, near_anchor(pose, vertices))


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
    near = bring_near(pose, points, nearness, near_anchor(pose, vertices))
    return project_weak(pose, near)


def weak_motion(
    moved: Float[ArrayLike, "*b n 2"],
    flat: Float[ArrayLike, "*b n 2"],
    depth: Float[ArrayLike, "*b n 1"],
    weight: Float[ArrayLike, "*b n 1"],
) -> tuple[
    Float[ArrayLike, "*b 1"], Float[ArrayLike, "*b 2"], Float[ArrayLike, "*b 2"]
]:
    """The part of a motion in the picture that a weak camera can make.

    Args:
        moved: displacement of points.
        flat: where they are; with `depth`, camera axes.
        weight: of each, with sum 1.

    Returns:
        scale, tilt and shift of the least-squares fit `scale flat + tilt depth + shift`
        (a small turn out of the plane moves points by their depth).
    """
    xp = flat.__array_namespace__()

    def mean(x):
        return xp.sum(weight * x, axis=-2)

    x, p, z = (y - mean(y)[..., None, :] for y in (moved, flat, depth))
    spread = mean(z * z)
    with_depth, of_depth = mean(z * x), mean(z * p)
    both = mean(xp.sum(x * p, axis=-1, keepdims=True))
    size = mean(xp.sum(p * p, axis=-1, keepdims=True))
    tiny = 1e-12
    top = both - xp.sum(of_depth * with_depth, axis=-1, keepdims=True) / (spread + tiny)
    bottom = size - xp.sum(of_depth**2, axis=-1, keepdims=True) / (spread + tiny)
    scale = top / (bottom + tiny)
    tilt = (with_depth - scale * of_depth) / (spread + tiny)
    return scale, tilt, mean(moved) - scale * mean(flat) - tilt * mean(depth)


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
