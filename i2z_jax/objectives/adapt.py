# SPDX-License-Identifier: Apache-2.0
"""Stage `adapt`: what an unlabelled video says about its own frames.

Paper section 4.3; DESIGN section 6. On consecutive frames t, t + 1: the textures
unwrapped from both agree (CFTC), the mesh's landmarks lie where the frozen hourglass
sees them (FL), the decoded texture, in the video's colours, is the unwrapped one
(MOTC). A prior keeps z where the lab had it, and a share of labelled lab views in
every batch keeps the network from forgetting them (see `train/adapt.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from i2z_jax.geometry.camera import project_weak, view_direction, view_from_head
from i2z_jax.geometry.mesh import vertex_normals
from i2z_jax.geometry.pyramid import halve, pyramid
from i2z_jax.geometry.raster import interpolate
from i2z_jax.geometry.topology import TexelMap
from i2z_jax.geometry.unwrap import unwrap
from i2z_jax.losses import landmark_loss, prior_loss, texture_consistency_loss
from i2z_jax.models.dam import DAM
from i2z_jax.models.i2znet import I2ZOutput
from i2z_jax.objectives import colour
from i2z_jax.types import Array, Bool, Float, Int

Metrics = dict[str, Array]


@dataclass(frozen=True)
class AdaptWeights:
    """Weights of the terms; each name says what a term of 1 means."""

    # Per pixel of confidence-weighted landmark distance, of a 256 px crop.
    landmarks: float = 0.3
    # CFTC, per unit of colour difference, RGB in [0, 1].
    consistency: float = 10.0
    # MOTC, likewise.
    appearance: float = 10.0
    # Per squared standard deviation of z, mean over its components.
    prior: float = 0.01
    # Share of the supervised loss on labelled lab views.
    replay: float = 0.5


class FaceMesh(NamedTuple):
    """What the terms need of a topology, as arrays."""

    faces: Int[Array, "f 3"]
    # At the size textures are compared at, a power of two below the decoder's or its.
    texel_map: TexelMap
    landmark_faces: Int[Array, "l"]
    landmark_barycentric: Float[Array, "l 3"]
    # Jaw points, which slide.
    on_contour: Bool[Array, "l"]


class Lab(NamedTuple):
    """Distribution of z over the capture."""

    z_mean: Float[Array, "z"]
    z_std: Float[Array, "z"]


def adapt_objective(
    prediction: I2ZOutput,
    dam: DAM,
    batch: Mapping[str, Array],
    mesh: FaceMesh,
    lab: Lab,
    equations: colour.ColourEquations,
    *,
    weights: AdaptWeights,
    levels: int = 3,
) -> tuple[Float[Array, ""], Metrics, colour.ColourEquations]:
    """Self-supervised loss of frame pairs.

    Args:
        prediction: of the 2 b frames, pairs one after the other: t, t + 1, t', t' + 1.
        dam: the frozen decoder.
        batch: `image` [0, 1] `2b h w 3`; `landmarks` px `2b 68 2` and `confidence`
            `2b 68` of the frozen hourglass.
        equations: the video's colour so far.
        levels: of the texture pyramid; each doubles the basin of CFTC and MOTC.

    Returns:
        The loss, its terms, and the colour equations with this batch in them.
    """
    image, z, pose = batch["image"], prediction.z, prediction.pose
    size = image.shape[-2]
    vertices = dam.decode_vertices(z)
    points = projected_landmarks(vertices, pose, mesh, size)
    distance = landmark_loss(points, batch["landmarks"], mesh.on_contour)
    confidence = batch["confidence"]

    observed, visible = jax.vmap(unwrap, (0, 0, 0, None, None))(
        image, vertices, pose, mesh.texel_map, mesh.faces
    )
    decoded = shrink_to(dam.decode_texture(z, view_direction(pose)), observed.shape[-2])
    normals = jax.lax.stop_gradient(texel_normals(vertices, pose, mesh))
    # The correction explains light and colour, once for all frames; it must not be
    # bent to explain a wrong face, so no gradient passes through its fit.
    fixed = jax.lax.stop_gradient((decoded, observed, visible))
    equations = colour.accumulate(equations, fixed[0], fixed[1], normals, fixed[2])
    coefficients = colour.solve(equations)
    gain = colour.frame_gain(
        colour.correct(fixed[0], normals, coefficients), fixed[1], fixed[2]
    )
    corrected = colour.correct(decoded, normals, coefficients)
    corrected = corrected * gain[:, None, None, None]

    both = visible[0::2] * visible[1::2]
    terms = {
        "landmarks": _mean(distance, confidence) * (256 / size),
        "consistency": pyramid_difference(
            observed[0::2], observed[1::2], both, levels=levels
        ),
        "appearance": pyramid_difference(corrected, observed, visible, levels=levels),
        "prior": prior_loss(z, lab.z_mean, lab.z_std).mean(),
    }
    loss = sum(getattr(weights, name) * term for name, term in terms.items())
    metrics = {**terms, "visible": visible.mean(), "z_spread": z.std(0).mean()}
    return jnp.asarray(loss), metrics, equations


def projected_landmarks(
    vertices: Float[Array, "b n 3"],
    pose: Float[Array, "b 6"],
    mesh: FaceMesh,
    image_size: int,
) -> Float[Array, "b l 2"]:
    """The mesh's landmarks in pixels of the crop."""
    corners = vertices[:, mesh.faces[mesh.landmark_faces]]
    points = jnp.sum(corners * mesh.landmark_barycentric[None, ..., None], -2)
    return (project_weak(pose, points)[..., :2] + 1) * (image_size / 2)


def texel_normals(
    vertices: Float[Array, "b n 3"], pose: Float[Array, "b 6"], mesh: FaceMesh
) -> Float[Array, "b t t 3"]:
    """Surface normal of every texel, camera space; zero off the mesh."""
    normals = vertex_normals(vertices, mesh.faces)
    normals = jnp.einsum("bij,bnj->bni", view_from_head(pose), normals)
    each = jax.vmap(interpolate, (0, None, None, None))
    return each(normals, mesh.faces, *mesh.texel_map)


def pyramid_difference(
    texture: Float[Array, "b t t 3"],
    other: Float[Array, "b t t 3"],
    weight: Float[Array, "b t t"],
    *,
    levels: int,
) -> Float[Array, ""]:
    """Robust colour difference where `weight`, mean over texels, then over levels."""
    ours = pyramid(texture, weight, levels)
    theirs = pyramid(other, weight, levels)
    means = [
        _mean(texture_consistency_loss(a, b), w)
        for (a, w), (b, _) in zip(ours, theirs, strict=True)
    ]
    return jnp.stack(means).mean()


def shrink_to(texture: Float[Array, "b t t 3"], size: int) -> Float[Array, "b s s 3"]:
    """Halve until the side is `size`."""
    while texture.shape[-2] > size:
        texture = halve(texture)
    return texture


def _mean(x: Array, weight: Array) -> Float[Array, ""]:
    return jnp.sum(x * weight) / jnp.maximum(jnp.sum(weight), 1e-6)
