# SPDX-License-Identifier: Apache-2.0
"""Signed distance field of the neutral head (DESIGN 8); the mesh is sampled from it.

Bones and soft tissue are ellipsoids and capsules joined by smooth unions. Head space:
mm, y up, z out of the face, the eyes at y = 0. Everything is symmetric in x: points
are folded onto the subject's left side (x >= 0). Proportions are those of
anthropometric tables (head 230 tall, 155 wide, 195 deep, eyes 64 apart), not of any
person.
"""

import numpy as np

from i2z_jax.types import Float, NDArray

# Centre of the left eye, and the semi-axes of its surface (`inner_parts`).
EYE_CENTRE = np.array([32.0, 0.0, 64.0])
EYE_AXES = np.array([17.0, 13.0, 13.0])
# Eyes lie on a round face: their own "forward" points this far outward (rad).
EYE_TURN = np.radians(9.0)
# Lids are a shell over the eye, this many times its size.
LID_SCALE = 1.11

# Lengths in mm; whole ones are written without a point.
Length = float | int
Vector = tuple[Length, Length, Length]
Points = Float[NDArray, "n 3"]
Distance = Float[NDArray, " n"]


def ellipsoid(p: Points, centre: Vector, radii: Vector) -> Distance:
    q = (p - np.array(centre)) / np.array(radii)
    k0 = np.linalg.norm(q, axis=-1)
    k1 = np.linalg.norm(q / np.array(radii), axis=-1)
    return k0 * (k0 - 1.0) / np.maximum(k1, 1e-9)


def capsule(p: Points, a: Vector, b: Vector, ra: Length, rb: Length) -> Distance:
    """A cone with round ends: radius `ra` at `a`, `rb` at `b`."""
    start, end = np.array(a), np.array(b)
    axis = end - start
    t = np.clip((p - start) @ axis / (axis @ axis), 0, 1)
    nearest = start + t[:, None] * axis
    return np.linalg.norm(p - nearest, axis=-1) - (ra + (rb - ra) * t)


def smooth_min(a: Distance, b: Distance, k: Length) -> Distance:
    """Smooth union: the crease is filled over about `k` mm."""
    h = np.maximum(k - np.abs(a - b), 0) / k
    return np.minimum(a, b) - h * h * k / 4


def carve(a: Distance, b: Distance, k: Length) -> Distance:
    """Smooth difference: `a` without `b`, the edge rounded over about `k` mm."""
    return -smooth_min(-a, b, k)


def blob(p: Points, centre: Vector, radii: Vector) -> Distance:
    """A Gaussian bump: 1 at the centre, 0.6 at one radius."""
    q = (p - np.array(centre)) / np.array(radii)
    # Written out: a sum over an axis of three is slow.
    return np.exp(-0.5 * (q[..., 0] ** 2 + q[..., 1] ** 2 + q[..., 2] ** 2))


def eye_frame() -> Float[NDArray, "3 3"]:
    """Columns: the axes of the left eye's own frame in head space."""
    c, s = np.cos(EYE_TURN), np.sin(EYE_TURN)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _lids(p: Points) -> Distance:
    local = (p - EYE_CENTRE) @ eye_frame()
    axes = EYE_AXES * LID_SCALE
    return ellipsoid(local, (0, 0, 0), (axes[0], axes[1], axes[2]))


def _skull(p: Points) -> Distance:
    d = ellipsoid(p, (0, 36, -12), (76, 80, 87))
    d = smooth_min(d, ellipsoid(p, (0, 36, 22), (64, 62, 70)), 22)  # forehead
    return smooth_min(d, ellipsoid(p, (0, -28, 20), (63, 66, 66)), 26)  # midface


def _jaw(p: Points) -> Distance:
    d = capsule(p, (47.5, -50, 4), (40, -79, 24), 13, 11)  # ramus to the angle
    d = smooth_min(d, capsule(p, (40, -79, 24), (11, -100, 74), 12, 14), 14)
    d = smooth_min(d, ellipsoid(p, (0, -70, 34), (46, 40, 55)), 24)
    return smooth_min(d, ellipsoid(p, (0, -99, 77), (19, 14, 16)), 15)  # chin


def _nose(p: Points) -> Distance:
    d = capsule(p, (0, 7, 83), (0, -18, 95), 6.0, 7.0)
    # Side walls: a nose is a wedge, and leans on the cheeks.
    d = smooth_min(d, capsule(p, (4, 1, 75), (9.5, -37, 87), 8.0, 9.0), 14)
    d = smooth_min(d, capsule(p, (0, -18, 95), (0, -37, 108), 7.0, 8.5), 6)
    d = smooth_min(d, ellipsoid(p, (0, -38.5, 108.5), (10.5, 9.0, 10.5)), 6)  # tip
    d = smooth_min(d, ellipsoid(p, (4.5, -40, 111), (6, 6, 6.5)), 5)
    d = smooth_min(d, ellipsoid(p, (11.8, -43, 97), (6.4, 7.2, 10.0)), 6)
    return smooth_min(d, capsule(p, (0, -45, 107), (0, -50, 96), 3.5, 4.5), 4)


def _lips(p: Points) -> Distance:
    """Two rolls, bent back around the teeth, thinner to the corners."""
    x = p[:, 0]
    bent = p.copy()
    bent[:, 2] += x * x * 0.0175
    s = np.clip(1 - (x / 25.5) ** 2, 0, 1)
    bow = 1.2 * np.exp(-(((x - 6) / 5) ** 2)) - 0.7 * np.exp(-((x / 4) ** 2))
    upper = np.hypot(
        (bent[:, 1] + 68.6 + 2.4 * (1 - s) - 0.6 * bow) / 1.1, bent[:, 2] - 96.5
    ) - (1.2 + 3.2 * s)
    lower = np.hypot((bent[:, 1] + 77.6 - 3.4 * (1 - s)) / 1.15, bent[:, 2] - 94.8) - (
        1.2 + 4.1 * s
    )
    end = np.maximum(x - 25.5, 0)
    return smooth_min(upper, lower, 0.8) + end


def head_distance(points: Points) -> Distance:
    """Approximate signed distance, mm; the sign (negative inside) is exact."""
    p = points.copy()
    p[:, 0] = np.abs(p[:, 0])
    d = smooth_min(_skull(p), _jaw(p), 20)
    d = smooth_min(d, ellipsoid(p, (46, -22, 46), (19, 15, 25)), 16)  # cheekbone
    d = smooth_min(d, ellipsoid(p, (28, -34, 66), (17, 17, 16)), 14)  # cheek fat
    # The round of the teeth under the lips.
    d = smooth_min(d, ellipsoid(p, (0, -70, 58), (33, 27, 36)), 16)
    brow = capsule(p, (9, 17, 83), (36, 22, 75), 9, 8)
    brow = smooth_min(brow, capsule(p, (36, 22, 74), (52, 4, 50), 8, 9), 12)
    d = smooth_min(d, brow, 16)
    # The outer wall of the socket, from brow to cheekbone.
    d = smooth_min(d, capsule(p, (52, 8, 46), (54, -18, 44), 10, 11), 16)
    # Sockets: deep beside the nose, shallow to the temple.
    d = carve(d, ellipsoid(p, (30, -1, 90), (17, 13.5, 15)), 12)
    d = carve(d, ellipsoid(p, (16.5, 1, 88), (6, 10, 9)), 8)
    d = smooth_min(d, _nose(p), 7)
    d = smooth_min(d, _lids(p), 4.0)
    d = smooth_min(d, _lips(p), 4.0)
    # Under the lower lip, and the philtrum.
    d = d + 1.6 * blob(p, (0, -89, 90), (13, 3.5, 9))
    d = d + 0.9 * blob(p, (0, -59, 98), (2.3, 5, 8)) * (p[:, 1] > -70)
    d = d - 0.6 * blob(p, (4.8, -60, 97), (1.6, 5, 8))
    # From the wing of the nose past the corner of the mouth.
    d = d + 1.3 * _along(p, (19, -42, 90), (31, -68, 80), 3.5)
    # The groove around the wing, and the fold above the lid.
    d = d + 0.9 * _along(p, (18.8, -38, 92), (19, -47, 91), 2.0)
    # Nostrils look down and a little out.
    d = d + 2.6 * blob(p, (6.2, -48.5, 104), (3.2, 2.2, 4.6))
    # Temples.
    d = d + 2.2 * blob(p, (66, 18, 42), (14, 22, 22))
    neck = capsule(p, (0, -30, -38), (0, -200, -30), 46, 56)
    return smooth_min(d, neck, 22)


def _along(p: Points, a: Vector, b: Vector, width: Length) -> Distance:
    """Gaussian ridge along the segment `a` to `b`, 1 on it; sigma `width`, mm."""
    return np.exp(-0.5 * ((capsule(p, a, b, 0, 0)) / width) ** 2)


def cast(origin: Points, direction: Points) -> Points:
    """Last intersection of rays from inside with the surface.

    Args:
        origin: inside the head.
        direction: unit vectors.

    Returns:
        Points on the surface, to about 1e-3 mm.
    """
    steps = np.linspace(20, 200, 73)
    inside = np.stack(
        [head_distance(origin + s * direction) < 0 for s in steps], axis=1
    )
    last = inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    low, high = steps[last], steps[last] + steps[1] - steps[0]
    for _ in range(11):
        middle = (low + high) / 2
        within = head_distance(origin + middle[:, None] * direction) < 0
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return origin + ((low + high) / 2)[:, None] * direction
