# SPDX-License-Identifier: Apache-2.0
"""Stage `adapt`: what an unlabelled video says about its own frames.

Paper section 4.3; DESIGN section 6. On consecutive frames t, t + 1: the textures
unwrapped from both agree (CFTC), the mesh's landmarks lie where the frozen hourglass
sees them (FL), the decoded texture, in the video's colours, is the unwrapped one
(MOTC), and a prior keeps z where the lab had it. `observe` unwraps and decodes,
`adaptation_terms` compares; between the two stands the colour of the video, which
`colour.py` fits to everything observed so far.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from i2z_jax.geometry.camera import seen_from_near, view_direction, view_from_head
from i2z_jax.geometry.mesh import vertex_normals
from i2z_jax.geometry.mesh_arrays import MeshArrays
from i2z_jax.geometry.pyramid import pyramid
from i2z_jax.geometry.raster import interpolate
from i2z_jax.geometry.rotation import rotate
from i2z_jax.geometry.unwrap import unwrap_frames
from i2z_jax.losses import prior_loss, texture_consistency_loss, weighted_mean
from i2z_jax.models.dam import DAM
from i2z_jax.models.heatmaps import Landmarks
from i2z_jax.models.i2znet import I2ZOutput
from i2z_jax.objectives import colour
from i2z_jax.objectives.face_mesh import FaceMesh
from i2z_jax.objectives.landmark_distance import (
    MeshLandmarks,
    landmark_distance,
    mesh_landmarks,
)
from i2z_jax.types import Array, Float, Metrics

# Of the textures' pyramid; each doubles the basin of CFTC and MOTC.
LEVELS = 3
# What `adaptation_terms` gives.
TERMS = ("landmarks", "consistency", "appearance", "prior")


@dataclass(frozen=True)
class AdaptWeights:
    """Weights of the terms; each name says what a term of 1 means."""

    # FL, per pixel of confidence-weighted landmark distance, of a 256 px crop.
    landmarks: float = 0.3
    # CFTC, per unit of colour difference, RGB in [0, 1].
    consistency: float = 10.0
    # MOTC, likewise.
    appearance: float = 10.0
    # Per squared standard deviation of z, mean over its components. About the ratio of
    # the log-likelihoods: half a unit for each of z's components, against 68 landmarks
    # with an error of a few px. With much less, z explains the detector's noise.
    prior: float = 0.2
    # The supervised loss on labelled lab views, as many as there are pairs.
    replay: float = 0.5


class ZPrior(NamedTuple):
    """Distribution of z over the capture."""

    z_mean: Float[Array, "z"]
    z_std: Float[Array, "z"]


class Appearance(NamedTuple):
    """Decoded and observed textures of the same faces."""

    # What the decoder says they look like from there, in the capture's colours.
    decoded: Float[Array, "c t t 3"]
    # What the frames show where the predictions put them, and where they do.
    observed: Float[Array, "c t t 3"]
    visible: Float[Array, "c t t"]
    # Surface normals in camera space; they carry no gradient.
    normals: Float[Array, "c t t 3"]

    def equations(self) -> colour.ColourEquations:
        """The colours of these frames, for `adaptation_terms`.

        The correction explains light and colour, once for all frames. It must not be
        bent to explain a wrong face, so no gradient passes through its fit; and it is
        fitted to textures of an eighth of the size, where light still is what it is
        and a face that is a little off matters less.
        """
        face = jax.lax.stop_gradient(self)
        layers = jnp.concatenate([face.decoded, face.observed, face.normals], -1)
        layers, weight = pyramid(layers, face.visible, 4)[-1]
        decoded, observed, normals = jnp.split(layers, 3, -1)
        return colour.equations_of(decoded, observed, normals, weight)

    def corrected(
        self, coefficients: Float[Array, "3 u"]
    ) -> tuple[Float[Array, "c t t 3"], Float[Array, "c"]]:
        """Decoded textures in the video's light and colours, and each frame's exposure.

        Args:
            coefficients: from `colour.solve`.
        """
        in_light = colour.correct(self.decoded, self.normals, coefficients)
        fixed = jax.lax.stop_gradient((in_light, self.observed, self.visible))
        return in_light, colour.frame_gain(*fixed)


class Observation(NamedTuple):
    """Frames seen through a prediction of them; t, t + 1, t', t' + 1, ..."""

    landmarks: MeshLandmarks
    # What the frames show where the prediction puts the face, and where they do.
    observed: Float[Array, "b t t 3"]
    visible: Float[Array, "b t t"]
    # All of the frames, or those that were decoded.
    face: Appearance


def observe(
    prediction: I2ZOutput,
    dam: DAM,
    image: Float[Array, "b h w 3"],
    face_mesh: FaceMesh,
    nearness: Float[Array, ""],
    *,
    unwrap: Callable[..., tuple[Array, Array]] = unwrap_frames,
    decode_every: int = 1,
) -> Observation:
    """Unwrap images with a prediction of them, and decode it.

    Args:
        prediction: of the images.
        dam: the frozen decoder.
        image: crops, [0, 1].
        nearness: of the video's camera, 1/mm. H has no perspective, and a network that
            may not know of the camera's bends the face to explain it: from a phone at
            arm's length a chin looks like that of an open mouth.
        unwrap: a batch of images; in a program divided over devices, `unwrap_frames`
            under `jax.shard_map` (see `geometry.raster.rasterize`).
        decode_every: of how many frames the first is decoded.
    """
    z, pose = prediction.z, prediction.pose
    vertices = dam.decode_vertices(z)
    seen = seen_from_near(pose, vertices, nearness)
    mesh = face_mesh.arrays
    observed, visible = unwrap(image, seen, pose, mesh.texel_map, mesh.faces)

    def of_decoded(x: Array) -> Array:
        return deinterleaved(x, decode_every)[0]

    decoded_pose, shown = of_decoded(pose), of_decoded(observed)
    normals = texel_normals(of_decoded(vertices), decoded_pose, mesh)
    return Observation(
        landmarks=mesh_landmarks(vertices, pose, face_mesh, nearness, image.shape[-2]),
        observed=observed,
        visible=visible,
        face=Appearance(
            decoded=dam.decode_texture(
                of_decoded(z), view_direction(decoded_pose), size=shown.shape[-2]
            ),
            observed=shown,
            visible=of_decoded(visible),
            normals=jax.lax.stop_gradient(normals),
        ),
    )


def adaptation_terms(
    seen: Observation,
    z: Float[Array, "b z"],
    detected: Landmarks,
    equations: colour.ColourEquations,
    face_mesh: FaceMesh,
    prior: ZPrior,
    *,
    image_size: int,
) -> Metrics:
    """The four self-supervised terms; `AdaptWeights` weigh them.

    Args:
        seen: from `observe`, pairs one after the other.
        z: of the same frames.
        detected: px of the crop, by the frozen hourglass.
        equations: of the colours of the whole video, so far.
    """
    face = seen.face
    in_light, gain = face.corrected(colour.solve(equations))
    now, then = deinterleaved(seen.observed, 2)
    both = jnp.prod(deinterleaved(seen.visible, 2), 0)
    return {
        "landmarks": landmark_distance(seen.landmarks, detected, face_mesh)
        * (256 / image_size),
        "consistency": pyramid_difference(now, then, both),
        "appearance": pyramid_difference(
            in_light * gain[:, None, None, None], face.observed, face.visible
        ),
        "prior": prior_loss(z, prior.z_mean, prior.z_std).mean(),
    }


def deinterleaved(x: Float[Array, "b *s"], n: int) -> Float[Array, "n part *s"]:
    """The n series that follow one another by turns: for 2, frames t and t + 1.

    Not by a strided slice, for which a batch that is divided over devices would be
    gathered.
    """
    return jnp.moveaxis(x.reshape(-1, n, *x.shape[1:]), 1, 0)


def texel_normals(
    vertices: Float[Array, "b n 3"], pose: Float[Array, "b 6"], mesh: MeshArrays
) -> Float[Array, "b t t 3"]:
    """Surface normal of every texel, camera space; zero off the mesh."""
    normals = vertex_normals(vertices, mesh.faces)
    normals = rotate(normals, view_from_head(pose))
    each = jax.vmap(interpolate, (0, None, None, None))
    return each(normals, mesh.faces, *mesh.texel_map)


def pyramid_difference(
    texture: Float[Array, "b t t 3"],
    other: Float[Array, "b t t 3"],
    weight: Float[Array, "b t t"],
) -> Float[Array, ""]:
    """Robust colour difference where `weight`, mean over texels, then over levels."""
    ours = pyramid(texture, weight, LEVELS)
    theirs = pyramid(other, weight, LEVELS)
    means = [
        weighted_mean(texture_consistency_loss(a, b), w)
        for (a, w), (b, _) in zip(ours, theirs, strict=True)
    ]
    return jnp.stack(means).mean()
