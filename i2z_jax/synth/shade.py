# SPDX-License-Identifier: Apache-2.0
"""Per-texel shading of the head: the view-dependent texture (DESIGN section 8).

Diffuse: spherical-harmonic environment plus directional lamps, with
wavelength-dependent wrap for subsurface scattering. Specular: a microfacet lobe on
bump-mapped normals, so that it moves with the camera. Light is linear throughout.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.geometry.mesh import vertex_normals
from i2z_jax.geometry.mesh_arrays import MeshArrays
from i2z_jax.geometry.raster import interpolate
from i2z_jax.synth.appearance import Appearance
from i2z_jax.types import Array, ArrayLike, Float

# Fresnel reflection of skin head-on, and how far light wraps past the terminator.
REFLECTANCE = 0.028
WRAP = np.array([0.34, 0.16, 0.10])


class Light(NamedTuple):
    """Where light comes from, in head space; arrays, so it passes through jit."""

    sky: Float[ArrayLike, "9 3"]
    """Irradiance in real spherical harmonics, bands 0 to 2: coefficients of
    1, y, z, x, xy, yz, 3z^2-1, zx, x^2-y^2 of the normal."""
    directions: Float[ArrayLike, "m 3"]
    """Unit vectors towards the lamps."""
    colours: Float[ArrayLike, "m 3"]
    """Irradiance of each lamp on a surface that faces it, over pi."""


def lab_light() -> Light:
    """Even light from all around, as on a capture stage, a little from above."""
    sky = np.zeros((9, 3))
    sky[0], sky[1], sky[2] = 0.50, 0.10, 0.13
    directions = _unit(
        [[-0.55, 0.55, 0.75], [0.60, 0.40, 0.72], [0.0, 0.85, 0.5], [0.95, 0.1, 0.1],
         [-0.95, 0.1, 0.1]]
    )  # fmt: skip
    strength = np.array([0.34, 0.24, 0.16, 0.10, 0.12])
    return Light(sky, directions, strength[:, None] * np.array([1.0, 0.98, 0.95]))


def wild_light(rng: np.random.Generator) -> Light:
    """Random lighting: key, fill and rim lamps and a tinted environment."""

    def tint(spread):
        colour = np.exp(rng.normal(size=3) * spread)
        return colour / colour.mean()

    sky = np.zeros((9, 3))
    sky[0] = rng.uniform(0.25, 0.6) * tint(0.10)
    gradient = rng.normal(size=(3, 1)) * [[0.10], [0.06], [0.10]]
    sky[1:4] = np.add(gradient, [[0.08], [0.05], [0]]) * tint(0.15)
    key = rng.uniform([-1, -0.1, 0.3], [1, 0.9, 1])
    fill = rng.uniform([-1, -0.3, -0.2], [1, 0.6, 0.8])
    rim = rng.uniform([-1, 0, -1], [1, 0.8, -0.3])
    colours = [
        rng.uniform(0.4, 1.1) * tint(0.14),
        rng.uniform(0.05, 0.3) * tint(0.2),
        rng.uniform(0.0, 0.6) * tint(0.2),
    ]
    return Light(sky, _unit([key, fill, rim]), np.array(colours))


def _unit(v):
    v = np.asarray(v, float)
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


@jax.jit
def shade(
    appearance: Appearance,
    vertices: Float[Array, "n 3"],
    mesh: MeshArrays,
    light: Light,
    camera: Float[Array, "3"],
) -> Float[Array, "t t 3"]:
    """The texture that a camera sees. Pure; `vmap` it over cameras or frames.

    Args:
        appearance: of the size of the texel map.
        vertices: head space, mm.
        mesh: of the head; as arrays, so that one compilation serves all people.
        light: in head space.
        camera: position of the camera in head space, mm.

    Returns:
        Linear light in [0, 1], row 0 is v = 0; black where the texture is not used.
    """
    triangle = mesh.texel_map.triangle
    at = (mesh.faces, *mesh.texel_map)
    points = interpolate(vertices, *at)
    smooth = _normalised(interpolate(vertex_normals(vertices, mesh.faces), *at))
    corners = (vertices[mesh.faces], mesh.uvs[mesh.uv_faces])
    normal = _relief(appearance.height, smooth, *corners, triangle)
    to_camera = _normalised(camera[None, None] - points)
    diffuse, gloss = sky_light(light, smooth, appearance.occlusion)
    for i in range(light.directions.shape[0]):
        d, s = _lamp(appearance, normal, smooth, to_camera, light.directions[i])
        colour = jnp.asarray(light.colours[i], jnp.float32)[None, None]
        diffuse, gloss = diffuse + d * colour, gloss + s[..., None] * colour
    linear = appearance.albedo * diffuse + gloss
    return jnp.where((triangle >= 0)[..., None], roll_off(linear), 0.0)


def roll_off(linear: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Bring highlights under 1 smoothly, as film does, instead of clipping them."""
    knee = 0.8
    over = jnp.maximum(linear - knee, 0)
    return jnp.minimum(linear, knee) + (1 - knee) * (1 - jnp.exp(-over / (1 - knee)))


def sky_light(light: Light, normal, occlusion):
    sky = jnp.asarray(light.sky, jnp.float32)
    x, y, z = normal[..., 0], normal[..., 1], normal[..., 2]
    basis = jnp.stack(
        [jnp.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, z * x, x * x - y * y],
        axis=-1,
    )
    diffuse = jnp.maximum(basis @ sky, 0) * occlusion[..., None]
    return diffuse, 0.012 * diffuse


def _lamp(appearance, normal, smooth, to_camera, lamp):
    lamp = jnp.asarray(lamp, jnp.float32)[None, None]
    facing = jnp.sum(normal * lamp, axis=-1)
    # Red light has spread furthest under the skin: it sees the smoothest surface.
    soft = jnp.sum(smooth * lamp, axis=-1)
    blur = jnp.asarray([0.75, 0.35, 0.2], jnp.float32)[None, None]
    spread = facing[..., None] + (soft - facing)[..., None] * blur
    wrap = jnp.asarray(WRAP, jnp.float32)[None, None]
    wrap = wrap * appearance.translucence[..., None]
    diffuse = jnp.maximum(spread + wrap, 0) / (1 + wrap)
    # Hollows are out of reach of grazing lamps first.
    hidden = appearance.occlusion
    diffuse = diffuse * (hidden + (1 - hidden) * 0.15)[..., None]
    half = _normalised(lamp + to_camera)
    n_h = jnp.clip(jnp.sum(normal * half, axis=-1), 0, 1)
    v_h = jnp.clip(jnp.sum(to_camera * half, axis=-1), 0, 1)
    n_v = jnp.clip(jnp.sum(normal * to_camera, axis=-1), 0.05, 1)
    alpha2 = appearance.roughness**4
    lobe = alpha2 / (n_h * n_h * (alpha2 - 1) + 1) ** 2
    fresnel = REFLECTANCE + 0.4 * (1 - v_h) ** 5
    lit = jnp.clip(facing, 0, 1)
    # Kelemen's visibility term; lamps are given over pi.
    gloss = (
        lobe * fresnel * lit / jnp.maximum(4 * v_h * v_h, 0.1) / jnp.maximum(n_v, 0.4)
    )
    gloss = jnp.minimum(gloss * appearance.specular, 3.0) * hidden
    return diffuse, gloss


def _normalised(v):
    return v / jnp.sqrt(jnp.maximum(jnp.sum(v * v, axis=-1, keepdims=True), 1e-12))


def _relief(height, normal, corners, uv, triangle):
    """Normals of the surface raised by `height` (Blinn 1978)."""
    size = height.shape[0]
    h_u = (jnp.roll(height, -1, axis=1) - jnp.roll(height, 1, axis=1)) * (size / 2)
    h_v = (jnp.roll(height, -1, axis=0) - jnp.roll(height, 1, axis=0)) * (size / 2)
    a, b, c = (corners[:, i] for i in range(3))
    e1, e2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    flat = jnp.abs(area) < 1e-12
    inverse = jnp.where(flat, 0, 1 / jnp.where(flat, 1, area))
    e1, e2 = e1 * inverse[:, None], e2 * inverse[:, None]
    p_u = (b - a) * e2[:, 1:] - (c - a) * e1[:, 1:]
    p_v = (c - a) * e1[:, :1] - (b - a) * e2[:, :1]
    face = jnp.maximum(triangle, 0)
    p_u, p_v = p_u[face], p_v[face]
    across, up = jnp.cross(normal, p_v), jnp.cross(normal, p_u)
    volume = jnp.sum(normal * jnp.cross(p_u, p_v), axis=-1, keepdims=True)
    tilt = h_u[..., None] * across - h_v[..., None] * up
    tilt = tilt / jnp.where(jnp.abs(volume) < 1e-3, 1e9, volume)
    return _normalised(normal + jnp.clip(tilt, -0.7, 0.7))
