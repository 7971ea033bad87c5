# SPDX-License-Identifier: Apache-2.0
"""Euler angles and rotation matrices, NumPy or JAX (DESIGN section 5)."""

from i2z_jax.types import ArrayLike, Float


def matrix_from_euler(angles: Float[ArrayLike, "*b 3"]) -> Float[ArrayLike, "*b 3 3"]:
    """Rz(rz) Ry(ry) Rx(rx) of angles (rx, ry, rz) in radians.

    Each factor turns counter-clockwise when its axis points at the viewer. In the
    camera's frame (x right, y down, z away) positive rz turns the image clockwise.
    """
    xp = angles.__array_namespace__()
    cx, cy, cz = (xp.cos(angles[..., i]) for i in range(3))
    sx, sy, sz = (xp.sin(angles[..., i]) for i in range(3))
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def euler_from_matrix(matrix: Float[ArrayLike, "*b 3 3"]) -> Float[ArrayLike, "*b 3"]:
    """Angles (rx, ry, rz) in radians of a rotation Rz Ry Rx, |ry| <= pi/2.

    At |ry| = pi/2 only rx - rz or rx + rz is defined; the angles returned are one of
    the solutions up to rounding.
    """
    xp = matrix.__array_namespace__()
    # atan2 of both legs keeps full precision near 90 degrees, where asin loses half.
    across = xp.hypot(matrix[..., 0, 0], matrix[..., 1, 0])
    rx = xp.atan2(matrix[..., 2, 1], matrix[..., 2, 2])
    ry = xp.atan2(-matrix[..., 2, 0], across)
    rz = xp.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return xp.stack([rx, ry, rz], axis=-1)


def rotate(
    points: Float[ArrayLike, "*b n 3"], rotation: Float[ArrayLike, "*b 3 3"]
) -> Float[ArrayLike, "*b n 3"]:
    """The rotation, or any other 3x3 matrix, times each point.

    Not a product of matrices, for which accelerators round to fewer bits: a TPU's are
    bfloat16, up to half a pixel of a crop.
    """
    x, y, z = (points[..., k, None] * rotation[..., None, :, k] for k in range(3))
    return x + y + z
