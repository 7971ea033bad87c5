# SPDX-License-Identifier: Apache-2.0
"""Which examples a picture shows, and the pictures in a row of it."""

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax import drawing
from i2z_jax.data.batches import Source
from i2z_jax.data.warp import resized
from i2z_jax.evaluate import pictures
from i2z_jax.evaluate.metrics import distance
from i2z_jax.geometry.camera import view_direction
from i2z_jax.system import System
from i2z_jax.types import Float, Int, NDArray, UInt8

# Examples in a picture, and the side of each, px.
COUNT, SIDE = 5, 200
# Vertex error at the yellow end of the colours, mm.
LIMIT_MM = 5.0
FACE_COLUMNS = ("picture", "prediction", "its mesh", "true mesh", "error")


def worst(
    each: Float[NDArray, "e"], moments: Int[NDArray, "e"] | None = None
) -> list[int]:
    """The `COUNT` examples with the largest errors, worst first; NaN was not measured.

    Args:
        moments: a number an example; of those with the same one the worst is taken,
            so that a sheet does not show one moment five times.
    """
    moments = np.arange(len(each)) if moments is None else moments
    chosen: dict[int, int] = {}
    for i in np.argsort(-np.nan_to_num(each, nan=-np.inf), kind="stable"):
        if np.isfinite(each[i]):
            chosen.setdefault(int(moments[i]), int(i))
    return list(chosen.values())[:COUNT]


def face_rows(
    system: System,
    source: Source,
    indices: list[int],
    z: Float[NDArray, "e z"],
    pose: Float[NDArray, "e 6"],
    *,
    truth: bool,
    nearness: float,
) -> list[list[UInt8[NDArray, "s s 3"]]]:
    """For each example the pictures of `FACE_COLUMNS`; three without truth.

    The nearness is the camera's, 1/mm.
    """
    topology, rows = system.topology, []
    for i in indices:
        example = source[i]
        crop = resized(example["image"], SIDE)
        vertices, texture = decoded(system, z[i], pose[i])
        row = [
            crop,
            pictures.draw_face(
                vertices, pose[i], texture, topology, crop, nearness=nearness
            ),
            pictures.draw_mesh(vertices, pose[i], topology, SIDE),
        ]
        if truth:
            true, true_pose = example["vertices"], np.asarray(example["pose"])
            error = drawing.heat(distance(vertices, true), LIMIT_MM)
            row += [
                pictures.draw_mesh(true, true_pose, topology, SIDE),
                pictures.draw_mesh(vertices, pose[i], topology, SIDE, error),
            ]
        rows.append(row)
    return rows


def decoded(
    system: System, z: Float[NDArray, "z"], pose: Float[NDArray, "6"]
) -> tuple[Float[NDArray, "n 3"], Float[NDArray, "t t 3"]]:
    """Vertices, mm, and texture, [0, 1], of one state, seen from a head pose."""
    vertices, texture = _decoder(system.dam, jnp.asarray(z)[None], pose[None])
    return np.asarray(vertices[0]), np.asarray(texture[0])


@jax.jit
def _decoder(dam, z, pose):
    face = dam.decode(z, view_direction(jnp.asarray(pose)))
    return face.vertices, jnp.clip(face.texture, 0, 1)
