# SPDX-License-Identifier: Apache-2.0
"""One picture of a head by a hand-held camera, in linear light, before compositing.

Shared by `video` (many frames of one head), `landmark_set` (one of each of many) and
`sheet`.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from i2z_jax.geometry.camera import camera_position, project_calibrated
from i2z_jax.geometry.topology import landmark_points
from i2z_jax.synth.shade import Light
from i2z_jax.synth.subject import Subject
from i2z_jax.synth.view import Cameras, photograph
from i2z_jax.types import Float, NDArray

# Samples per pixel side, against aliased silhouettes.
SAMPLES = 2


class Lens(NamedTuple):
    """A pinhole camera in front of a head."""

    intrinsics: Float[NDArray, "3 3"]
    camera_from_head: Float[NDArray, "3 4"]


class Portrait(NamedTuple):
    """A rendered image with its ground truth."""

    image: Float[NDArray, "h w 3"]
    """Linear light times coverage: black where the head is not."""
    mask: Float[NDArray, "h w"]
    vertices: Float[NDArray, "n 3"]
    pixels: Float[NDArray, "n 2"]
    """Where the vertices are in the picture."""
    landmarks: Float[NDArray, "68 2"]


def portrait(
    subject: Subject,
    weights: Float[NDArray, "k"],
    lens: Lens,
    light: Light | None,
    *,
    width: int,
    height: int,
) -> Portrait:
    """Render an expression.

    Args:
        subject: who.
        weights: of the head's expressions.
        lens: the camera.
        light: in head space; None is the stage's.
        width: of the picture, px.
        height: of the picture, px.
    """
    still = np.eye(3, 4)
    position = camera_position(lens.camera_from_head, still)
    # Only `photograph` is compiled here: it is the same for all identities.
    vertices = subject.head.vertices(jnp.asarray(weights, jnp.float32))
    texture = subject.shade(vertices, jnp.asarray(position, jnp.float32), light)
    views = photograph(
        subject.mesh,
        vertices,
        texture[None],
        Cameras(*(jnp.asarray(part, jnp.float32)[None] for part in lens)),
        height=height,
        width=width,
        samples=SAMPLES,
    )
    vertices = np.asarray(vertices)
    points = vertices.astype(float)
    pixels, _ = project_calibrated(*lens, still, points)
    marks = landmark_points(subject.head.topology, points)
    landmarks, _ = project_calibrated(*lens, still, marks)
    return Portrait(
        np.asarray(views.image[0]),
        np.asarray(views.mask[0]),
        vertices,
        pixels,
        landmarks,
    )
