# SPDX-License-Identifier: Apache-2.0
"""A scan from files as a subject (the procedural one: `sitter.py`)."""

from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.data.multiface import read_texture, read_vertices
from i2z_jax.errors import InputError
from i2z_jax.geometry import topology as topologies
from i2z_jax.geometry.mesh import read_obj, vertex_normals
from i2z_jax.geometry.raster import interpolate
from i2z_jax.geometry.topology import texel_map
from i2z_jax.synth.scan_head import ScanHead, scan_head, skin_texture
from i2z_jax.synth.shade import Light, roll_off, sky_light
from i2z_jax.synth.subject import Subject
from i2z_jax.types import Array

# A scan's texture is linear and dark (Multiface); a phone's exposure and white balance
# bring it to daylight. Multiface's display transform has the same balance of colours.
WHITE_BALANCE = np.array([1.4, 1.1, 1.6]) / 1.1
EXPOSURE = 2.0


def scan_subject(head: ScanHead, texture: Path | None, texture_size: int) -> Subject:
    """A scan's head and its texture as a subject.

    The scan's texture contains the stage's lighting. With light None (captures) it is
    used unchanged; with a `Light` it is exposed to daylight and multiplied by the
    irradiance.

    Args:
        head: from `read_scan_head`.
        texture: its file; a scan needs one.
        texture_size: of the capture; another size than the file's is resampled.

    Raises:
        InputError: there is no texture, or not a readable one.
    """
    if texture is None:
        raise _incomplete("--texture")
    skin = skin_texture(read_texture(texture).astype(np.float32) / 255, head)
    size = (texture_size, texture_size)
    skin = cv2.resize(skin, size, interpolation=cv2.INTER_AREA)
    return Subject(head, _relit(head.topology, skin), texture_size)


def read_scan_head(mesh: Path, topology: Path | None) -> ScanHead:
    """The head of a scan.

    Args:
        mesh: `.obj`, or `.bin` with a topology. Head space, mm.
        topology: its triangles and UVs; those of an `.obj` by default.

    Raises:
        InputError: a file is missing, or they do not belong together.
    """
    is_obj = mesh.suffix.lower() == ".obj"
    source = topology or (mesh if is_obj else None)
    if source is None:
        raise _incomplete("--topology")
    known = topologies.load(source)
    if is_obj:
        vertices = read_obj(mesh).vertices
        if len(vertices) != known.vertex_count:
            raise InputError(
                "not this topology's vertices", where=mesh,
                expected=known.vertex_count, got=len(vertices),
            )  # fmt: skip
    else:
        vertices = read_vertices(mesh, count=known.vertex_count)
    return scan_head(vertices, known)


def _incomplete(missing: str) -> InputError:
    return InputError(
        f"a scan needs {missing}", where="--template",
        fix="give --template MESH --topology FACE.obj --texture TEXTURE.png",
    )  # fmt: skip


def _relit(topology, texture):
    """A shader that multiplies a fixed texture by the light."""
    texels = texel_map(topology, len(texture))
    fixed = jnp.asarray(texture)
    daylight = fixed * jnp.asarray(WHITE_BALANCE * EXPOSURE, jnp.float32)[None, None]
    at = (jnp.asarray(topology.faces), *map(jnp.asarray, texels))

    @jax.jit
    def shade(vertices: Array, position: Array, light: Light | None) -> Array:
        if light is None:
            return fixed
        normals = interpolate(vertex_normals(vertices, at[0]), *at)
        diffuse, _ = sky_light(light, normals, jnp.ones(normals.shape[:2]))
        facing = jnp.maximum(normals @ jnp.asarray(light.directions, jnp.float32).T, 0)
        lamps = facing @ jnp.asarray(light.colours, jnp.float32)
        return roll_off(daylight * (diffuse + lamps))

    return shade
