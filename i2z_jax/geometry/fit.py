# SPDX-License-Identifier: Apache-2.0
"""The head pose H that explains a view best (DESIGN section 5).

Training labels are `fit_calibrated_pose` of the captured views; the tracker starts
from `fit_weak_pose` of landmarks.
"""

from typing import NamedTuple

import numpy as np

from i2z_jax.errors import InputError
from i2z_jax.geometry.camera import project_calibrated
from i2z_jax.geometry.crop import apply_affine, unit_from_pixels
from i2z_jax.geometry.rotation import euler_from_matrix, matrix_from_euler
from i2z_jax.types import ArrayLike, Float, NDArray

# Gauss-Newton converges quadratically here: the sixth step moves less than rounding.
STEPS = 6


class PoseFit(NamedTuple):
    """A head pose and the root mean square distance of its projected points."""

    pose: Float[ArrayLike, "6"]
    residual: Float[ArrayLike, ""]


def fit_weak_pose(
    vertices: Float[ArrayLike, "n 3"], points: Float[ArrayLike, "n 2"]
) -> PoseFit:
    """Least-squares weak-perspective pose: `sum |f (R v)_xy + t - p|^2` is minimal.

    Closed form first (the affine camera by least squares, brought to the nearest
    scaled rotation by SVD), then Gauss-Newton on the true objective. The rotation is
    updated by a left increment, so that no pose is singular. Differentiable and
    vmap-able in JAX.

    Args:
        vertices: at least 4 points that do not lie in one plane, head space, mm.
        points: where they are seen, in [-1, 1] (or any other isotropic unit).

    Returns:
        pose H, and the RMS distance in the unit of `points`.
    """
    xp = points.__array_namespace__()
    centre = vertices.mean(axis=0)
    shape = vertices - centre[None, :]
    flat = points - points.mean(axis=0)[None, :]
    affine = xp.linalg.solve(shape.T @ shape, shape.T @ flat).T
    left, scales, right = xp.linalg.svd(affine, full_matrices=False)
    axes = left @ right
    view = xp.concatenate([axes, xp.linalg.cross(axes[0], axes[1])[None, :]])
    scale, shift = scales.mean(), points.mean(axis=0)
    for _ in range(STEPS):
        turned = shape @ view.T
        seen = scale * turned
        error = points - seen[:, :2] - shift[None, :]
        slope = _jacobian(seen)
        step = xp.linalg.solve(slope.T @ slope, slope.T @ error.reshape(-1, 1))[:, 0]
        # A step that is no fit's may be anything; e is further than any good one goes.
        scale = scale * xp.exp(xp.clip(step[0], -1.0, 1.0))
        view = matrix_from_euler(step[1:4]) @ view
        shift = shift + step[4:]
    seen = scale * (shape @ view.T)[:, :2] + shift[None, :]
    residual = xp.sqrt(((points - seen) ** 2).sum(axis=-1).mean())
    upright = xp.asarray([1.0, -1.0, -1.0], dtype=view.dtype)
    angles = euler_from_matrix(view * upright[None, :])
    origin = shift - scale * (view @ centre)[:2]
    return PoseFit(xp.concatenate([scale[None], angles, origin]), residual)


def fit_calibrated_pose(
    intrinsics: Float[NDArray, "3 3"],
    camera_from_world: Float[NDArray, "3 4"],
    world_from_head: Float[NDArray, "3 4"],
    vertices: Float[NDArray, "n 3"],
    crop_from_image: Float[NDArray, "2 3"],
    crop_size: int,
) -> PoseFit:
    """The label H of a captured view: the weak camera nearest to the calibrated one.

    Returns:
        pose H in the crop, and the RMS distance of the two cameras' projections of
        the vertices, in pixels of the crop: what weak perspective cannot express.

    Raises:
        InputError: a part of the head is not in front of the camera.
    """
    pixels, depth = project_calibrated(
        intrinsics, camera_from_world, world_from_head, vertices
    )
    require_in_front(depth)
    points = unit_from_pixels(apply_affine(crop_from_image, pixels), crop_size)
    pose, residual = fit_weak_pose(vertices, points)
    return PoseFit(pose, residual * (crop_size / 2))


def require_in_front(depth: Float[ArrayLike, "n"], *, camera: str = "camera") -> None:
    """Refuse a camera that has some of the head's vertices beside or behind it.

    Args:
        depth: of the vertices along the optical axis, mm.
        camera: its name, for the message.

    Raises:
        InputError: some depth is not positive.
    """
    behind = int(np.sum(~(depth > 0)))
    if behind:
        raise InputError(
            "the camera is inside the head or looks away from it",
            where=camera,
            expected="every vertex in front of it",
            got=f"{behind} of {len(depth)} behind",
            fix="check [R|t] (world -> camera, mm) and the head transform",
        )


def _jacobian(seen: Float[ArrayLike, "n 3"]) -> Float[ArrayLike, "m 6"]:
    """d(points) / d(log f, left rotation, t), rows x0 y0 x1 y1 ...

    Scaling by f (`log f`, and `seen` = f R v) makes the six columns similar in
    length, so that the normal equations are safe.
    """
    xp = seen.__array_namespace__()
    x, y, z = seen[:, 0], seen[:, 1], seen[:, 2]
    zero, one = xp.zeros_like(x), xp.ones_like(x)
    rows_x = xp.stack([x, zero, z, -y, one, zero], axis=-1)
    rows_y = xp.stack([y, -z, zero, x, zero, one], axis=-1)
    return xp.stack([rows_x, rows_y], axis=1).reshape(-1, 6)
