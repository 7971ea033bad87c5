# SPDX-License-Identifier: Apache-2.0
"""A bumpy half egg with coloured dots on known vertices: every error can be seen."""

import functools

import jax.numpy as jnp
import numpy as np

from i2z_jax.geometry.topology import Topology, texel_map
from i2z_jax.synth.subject import Subject

SIDE = 33
TEXTURE = 256
SKIN = np.array([0.25, 0.25, 0.25])
# Saturated, so that a dot is told from skin and from the other dots by colour alone.
DOTS = {
    (16, 16): (1.0, 0.0, 0.0),
    (8, 10): (0.0, 1.0, 0.0),
    (8, 22): (0.0, 0.0, 1.0),
    (24, 11): (1.0, 1.0, 0.0),
    (24, 21): (0.0, 1.0, 1.0),
    (12, 16): (1.0, 0.0, 1.0),
}


def vertex(row: int, column: int) -> int:
    return row * SIDE + column


class PatternHead:
    """Front of an ellipsoid, 150 x 210 x 90 mm; row 0 at the bottom."""

    expression_names = ("jaw_open", "smile", "blink")

    def __init__(self):
        steps = np.linspace(-1, 1, SIDE)
        up, left = np.meshgrid(steps, steps, indexing="ij")
        yaw, pitch = left * 1.35, up * 1.25
        bump = 1 + 0.12 * np.exp(-(left**2 + up**2) / 0.2)
        self.rest = np.stack(
            [
                75 * np.sin(yaw) * np.cos(pitch),
                105 * np.sin(pitch),
                90 * np.cos(yaw) * np.cos(pitch) * bump - 40,
            ],
            axis=-1,
        ).reshape(-1, 3)
        uvs = np.stack([left, up], axis=-1).reshape(-1, 2) * 0.47 + 0.5
        row, column = (x.ravel() for x in np.mgrid[: SIDE - 1, : SIDE - 1])
        a, b = vertex(row, column), vertex(row, column + 1)
        c, d = vertex(row + 1, column + 1), vertex(row + 1, column)
        faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
        self.landmark_rows, self.landmark_columns = landmark_grid()
        corner = vertex(self.landmark_rows, self.landmark_columns)
        first = np.array([np.flatnonzero(faces[:, 0] == v)[0] for v in corner])
        self.topology = Topology(
            faces.astype(np.int32),
            uvs.astype(np.float32),
            faces.astype(np.int32),
            SIDE**2,
            landmark_faces=first.astype(np.int32),
            landmark_barycentric=np.tile([1.0, 0, 0], (68, 1)).astype(np.float32),
        )
        lower = np.clip(-up.ravel(), 0, 1)[:, None]
        self.moves = np.stack(
            [
                lower * [0.0, -12.0, -3.0],
                (1 - np.abs(up.ravel()))[:, None] * self.rest * [0.08, 0, 0],
                np.clip(up.ravel(), 0, 1)[:, None] * [0.0, -4.0, 1.0],
            ]
        )

    def vertices(self, weights):
        moves = jnp.asarray(self.moves, jnp.float32)
        return jnp.asarray(self.rest, jnp.float32) + jnp.einsum(
            "...k,knc->...nc", weights, moves
        )


def landmark_grid():
    """68 different vertices, spread like a face's landmarks: all over the front."""
    rows, columns = np.mgrid[4:29:3, 5:28:3]
    return rows.ravel()[:68], columns.ravel()[:68]


def dotted_texture(
    topology: Topology, dots: dict[int, tuple[float, float, float]], radius_mm: float
) -> np.ndarray:
    """Skin with a disk of `radius_mm` around each of some vertices."""
    texels = texel_map(topology, TEXTURE)
    rest = PatternHead().rest
    corners = rest[topology.faces[texels.triangle]]
    place = (corners * texels.barycentric[..., None]).sum(-2)
    texture = np.broadcast_to(SKIN, (TEXTURE, TEXTURE, 3)).copy()
    for index, colour in dots.items():
        texture[np.linalg.norm(place - rest[index], axis=-1) < radius_mm] = colour
    return texture.astype(np.float32)


@functools.cache
def subject() -> Subject:
    """The head with the dots of `DOTS`, the same from every side and in any light."""
    head = PatternHead()
    dots = {vertex(*place): colour for place, colour in DOTS.items()}
    texture = jnp.asarray(dotted_texture(head.topology, dots, radius_mm=4.0))
    return Subject(head, lambda vertices, position, light: texture, TEXTURE)
