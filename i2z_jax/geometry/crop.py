# SPDX-License-Identifier: Apache-2.0
"""Affine maps between an image, a crop of it, and the crop's [-1, 1] coordinates.

Maps are 2x3 matrices named `to_from`, on points with pixel centres at +0.5
(`geometry/camera.py` writes the frames out). NumPy or JAX.
"""

import math

from i2z_jax.types import ArrayLike, Float


def apply_affine(
    affine: Float[ArrayLike, "*b 2 3"], points: Float[ArrayLike, "*b n 2"]
) -> Float[ArrayLike, "*b n 2"]:
    """Points moved by an affine map."""
    xp = affine.__array_namespace__()
    return points @ xp.matrix_transpose(affine[..., :2]) + affine[..., None, :, 2]


def compose(
    outer: Float[ArrayLike, "*b 2 3"], inner: Float[ArrayLike, "*b 2 3"]
) -> Float[ArrayLike, "*b 2 3"]:
    """The map that applies `inner`, then `outer`."""
    xp = outer.__array_namespace__()
    linear = outer[..., :2] @ inner[..., :2]
    offset = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
    return xp.concatenate([linear, offset], axis=-1)


def invert(affine: Float[ArrayLike, "*b 2 3"]) -> Float[ArrayLike, "*b 2 3"]:
    """The inverse map. A singular one gives infinities, not an error."""
    xp = affine.__array_namespace__()
    (a, b, x), (c, d, y) = (
        tuple(affine[..., row, column] for column in range(3)) for row in range(2)
    )
    # Written out: exact for pure shifts and powers of two, where a solver is not.
    scale = 1.0 / (a * d - b * c)
    rows = (
        (d * scale, -b * scale, (b * y - d * x) * scale),
        (-c * scale, a * scale, (c * x - a * y) * scale),
    )
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def similarity(
    scale: Float[ArrayLike, "*b"] | float,
    angle: Float[ArrayLike, "*b"] | float,
    shift: Float[ArrayLike, "*b 2"],
) -> Float[ArrayLike, "*b 2 3"]:
    """p -> scale Rot(angle) p + shift; a positive angle (rad) turns clockwise."""
    xp = shift.__array_namespace__()
    c, s = scale * xp.cos(angle), scale * xp.sin(angle)
    rows = ((c, -s, shift[..., 0]), (s, c, shift[..., 1]))
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def crop_from_box(
    box: Float[ArrayLike, "*b 4"], size: int, *, scale: float = 1.0
) -> Float[ArrayLike, "*b 2 3"]:
    """Crop pixels from image pixels: the square around a box, resized to `size`.

    Args:
        box: left, top, right, bottom in image pixels.
        size: side of the crop in pixels.
        scale: side of the square in units of the box's longer side.
    """
    xp = box.__array_namespace__()
    side = scale * xp.maximum(box[..., 2] - box[..., 0], box[..., 3] - box[..., 1])
    zoom = size / side
    centre = (box[..., :2] + box[..., 2:]) / 2
    shift = size / 2 - zoom[..., None] * centre
    return similarity(zoom, xp.zeros_like(zoom), shift)


def box_of_points(
    points: Float[ArrayLike, "*b n 2"],
) -> Float[ArrayLike, "*b 4"]:
    """Left, top, right, bottom of the tightest box around points."""
    xp = points.__array_namespace__()
    return xp.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1)


def unit_from_pixels(
    points: Float[ArrayLike, "*b 2"], size: int
) -> Float[ArrayLike, "*b 2"]:
    """Crop pixels -> [-1, 1]."""
    return points * (2.0 / size) - 1.0


def pixels_from_unit(
    points: Float[ArrayLike, "*b 2"], size: int | ArrayLike
) -> Float[ArrayLike, "*b 2"]:
    """[-1, 1] -> crop pixels, of a side or of a width and height."""
    return (points + 1.0) * (size / 2.0)


def image_from_unit(
    crop_from_image: Float[ArrayLike, "*b 2 3"], crop_size: int
) -> Float[ArrayLike, "*b 2 3"]:
    """[-1, 1] of crops -> px of their pictures."""
    xp = crop_from_image.__array_namespace__()
    half = crop_size / 2
    crop_from_unit = xp.asarray([[half, 0.0, half], [0.0, half, half]])
    unit = xp.broadcast_to(crop_from_unit, crop_from_image.shape)
    return compose(invert(crop_from_image), unit)


def unit_affine(
    affine: Float[ArrayLike, "*b 2 3"], from_size: int, to_size: int
) -> Float[ArrayLike, "*b 2 3"]:
    """A map between the pixels of two crops as a map between their [-1, 1]."""
    xp = affine.__array_namespace__()
    linear = affine[..., :2] * (from_size / to_size)
    # The image of the first crop's centre, in the second one's [-1, 1].
    centre = affine[..., :2].sum(axis=-1) * (from_size / 2) + affine[..., 2]
    offset = unit_from_pixels(centre, to_size)
    return xp.concatenate([linear, offset[..., None]], axis=-1)


def transform_pose(
    pose: Float[ArrayLike, "*b 6"], unit_similarity: Float[ArrayLike, "*b 2 3"]
) -> Float[ArrayLike, "*b 6"]:
    """The head pose seen in a crop that was moved by a similarity.

    Exact: projecting with the result equals moving the projected points, because an
    in-plane rotation is the outermost factor Rz of R(r).

    Args:
        pose: H in the old crop.
        unit_similarity: new [-1, 1] from old [-1, 1] (`similarity`, `unit_affine`);
            no reflection, no shear.
    """
    xp = pose.__array_namespace__()
    scale = xp.hypot(unit_similarity[..., 0, 0], unit_similarity[..., 1, 0])
    angle = xp.atan2(unit_similarity[..., 1, 0], unit_similarity[..., 0, 0])
    roll = wrap_angle(pose[..., 3] + angle)
    shift = apply_affine(unit_similarity, pose[..., None, 4:6])[..., 0, :]
    turned = xp.stack([scale * pose[..., 0], pose[..., 1], pose[..., 2], roll], axis=-1)
    return xp.concatenate([turned, shift], axis=-1)


def wrap_angle(
    angle: Float[ArrayLike, "*b"] | float,
) -> Float[ArrayLike, "*b"] | float:
    """The same angle in [-pi, pi), radians."""
    return (angle + math.pi) % (2 * math.pi) - math.pi
