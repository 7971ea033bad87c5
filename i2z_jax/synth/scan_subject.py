# SPDX-License-Identifier: Apache-2.0
"""A scan from files as a subject (the procedural one: `sitter.py`)."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class ScanFiles:
    """Files of a scan that stands in for the procedural head."""

    mesh: Path
    topology: Path | None
    texture: Path | None


def scan_subject(files: ScanFiles, texture_size: int) -> Subject:
    """A scan as a subject.

    The scan's texture contains the stage's lighting. With light None (captures) it is
    used unchanged; with a `Light` it is exposed to daylight and multiplied by the
    irradiance.

    Args:
        files: mesh, topology, texture.
        texture_size: of the capture; another size than the file's is resampled.

    Raises:
        InputError: a file is missing, or they do not belong together.
    """
    head = read_scan_head(files.mesh, files.topology)
    if files.texture is None:
        raise _incomplete(files.mesh, "--texture")
    picture = read_texture(files.texture)
    texture = skin_texture(picture.astype(np.float32) / 255, head)
    size = (texture_size, texture_size)
    texture = cv2.resize(texture.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return Subject(head, _relit(head.topology, texture), texture_size)


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
        raise _incomplete(mesh, "--topology")
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


def _incomplete(mesh: Path, missing: str) -> InputError:
    return InputError(
        f"a scan needs {missing}", where="--template", got=str(mesh),
        fix="give --template MESH --topology FACE.obj --texture TEXTURE.png",
    )  # fmt: skip


def _relit(topology, texture):
    """A painter that multiplies a fixed texture by the light."""
    texels = texel_map(topology, len(texture))
    fixed = jnp.asarray(texture)
    daylight = fixed * jnp.asarray(WHITE_BALANCE * EXPOSURE, jnp.float32)[None, None]
    at = (jnp.asarray(topology.faces), *map(jnp.asarray, texels))

    @jax.jit
    def paint(vertices: Array, position: Array, light: Light | None) -> Array:
        if light is None:
            return fixed
        normals = interpolate(vertex_normals(vertices, at[0]), *at)
        diffuse, _ = sky_light(light, normals, jnp.ones(normals.shape[:2]))
        facing = jnp.maximum(normals @ jnp.asarray(light.directions, jnp.float32).T, 0)
        lamps = facing @ jnp.asarray(light.colours, jnp.float32)
        return roll_off(daylight * (diffuse + lamps))

    return paint
