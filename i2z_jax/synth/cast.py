# SPDX-License-Identifier: Apache-2.0
"""Who stands in front of the cameras: the procedural head, or a scan from files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.data.images import read_picture
from i2z_jax.data.multiface import read_vertices
from i2z_jax.errors import InputError
from i2z_jax.geometry import topology as topologies
from i2z_jax.geometry.mesh import read_obj, vertex_normals
from i2z_jax.geometry.raster import interpolate
from i2z_jax.synth.scan_head import scan_head, skin_texture
from i2z_jax.synth.subject import Subject
from i2z_jax.types import Array, Float

# A scan's texture is linear and dark (Multiface); a phone's exposure and white balance
# bring it to daylight. Multiface's display transform has the same balance of colours.
WHITE_BALANCE = np.array([1.4, 1.1, 1.6]) / 1.1
EXPOSURE = 2.0


@dataclass(frozen=True)
class Template:
    """Files of a scan that stands in for the procedural head."""

    mesh: Path
    topology: Path | None
    texture: Path | None


def scan_subject(template: Template, texture_size: int, *, daylight: bool) -> Subject:
    """A scan as a subject.

    Its texture already has the stage's light in it: painted as it is for a capture
    (light None), and brought to daylight and multiplied by the irradiance for a
    picture in the wild (light: spherical harmonics 9 3).

    Args:
        template: the files.
        texture_size: of the capture; another size than the file's is resampled.
        daylight: exposure and white balance of a phone instead of the stage's.

    Raises:
        InputError: a file is missing, or they do not belong together.
    """
    mesh = template.mesh
    source = template.topology or (mesh if mesh.suffix.lower() == ".obj" else None)
    if source is None or template.texture is None:
        missing = "--texture" if source else "--topology"
        raise InputError(
            f"a scan needs {missing}", where="--template", got=str(mesh),
            fix="give --template MESH --topology FACE.obj --texture TEXTURE.png",
        )  # fmt: skip
    topology = topologies.load(source)
    if mesh.suffix.lower() == ".obj":
        vertices = read_obj(mesh).vertices
        if len(vertices) != topology.vertex_count:
            raise InputError(
                "not this topology's vertices", where=mesh,
                expected=topology.vertex_count, got=len(vertices),
            )  # fmt: skip
    else:
        vertices = read_vertices(mesh, count=topology.vertex_count)
    head = scan_head(vertices, topology)
    picture = read_picture(template.texture)
    if picture.shape[0] != picture.shape[1]:
        raise InputError(
            "a texture is square", where=template.texture,
            got=f"{picture.shape[1]} x {picture.shape[0]} pixels",
        )  # fmt: skip
    texture = skin_texture(picture[::-1].astype(np.float32) / 255, head)
    if daylight:
        texture = np.clip(texture * WHITE_BALANCE * EXPOSURE, 0, 1)
    size = (texture_size, texture_size)
    texture = cv2.resize(
        texture.astype(np.float32), size, interpolation=cv2.INTER_AREA
    )
    return Subject(head, _relit(head.topology, texture), texture_size)


def _relit(topology, texture):
    """A painter that multiplies a fixed texture by the light."""
    texels = topologies.texel_map(topology, len(texture))
    fixed, triangle = jnp.asarray(texture), jnp.asarray(texels.triangle)
    weights, faces = jnp.asarray(texels.barycentric), jnp.asarray(topology.faces)

    @jax.jit
    def paint(vertices: Array, position: Array, light: Any) -> Array:
        if light is None:
            return fixed
        normals = interpolate(vertex_normals(vertices, faces), faces, triangle, weights)
        return jnp.clip(fixed * irradiance(normals, light), 0, 1)

    return paint


def irradiance(
    normals: Float[Array, "t t 3"], sh: Float[Array, "9 3"]
) -> Float[Array, "t t 3"]:
    """Light that falls on a surface, as a polynomial of its normal.

    Basis 1, y, z, x, xy, yz, 3zz-1, xz, xx-yy (Ramamoorthi and Hanrahan 2001), the
    constants of which are in the coefficients: sh[0] = 1 and no others is even light.
    """
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    terms = (jnp.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y)
    return jnp.maximum(jnp.stack(terms, axis=-1) @ sh, 0.02)


def outdoor_light(
    difficulty: float, rng: np.random.Generator
) -> Float[np.ndarray, "9 3"]:
    """Irradiance of a place: mean 1, one side brighter, tinted."""
    sh = np.zeros((9, 3))
    sh[0] = 1.0
    direction = rng.normal(size=3) * [1.0, 0.6, 0.5] + [0.0, 0.5, 0.5]
    direction /= np.linalg.norm(direction)
    tint = 1 + rng.normal(size=3) * 0.08 * difficulty
    strength = 0.15 + 0.45 * difficulty
    sh[[3, 1, 2]] = strength * direction[:, None] * tint
    sh[4:] = rng.normal(size=(5, 1)) * 0.08 * difficulty
    return sh.astype(np.float32)
