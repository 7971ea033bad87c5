# SPDX-License-Identifier: Apache-2.0
"""FL: how far the mesh's landmarks lie from where the frozen hourglass sees them.

It has two gradients [ours]: the pose gets that of the whole distance, the mesh only the
part that no pose can explain. H is the weak camera that fits the mesh in the picture
best (DESIGN section 5), so what a change of H does to the landmarks is for the pose to
learn. A mesh that may learn it too bends instead of the head turning, and stays bent.
"""

from typing import NamedTuple

import jax

from i2z_jax.geometry.camera import fit_change, project_near, view_from_head
from i2z_jax.geometry.crop import pixels_from_unit
from i2z_jax.geometry.rotation import rotate
from i2z_jax.losses import landmark_loss, weighted_mean
from i2z_jax.models.heatmaps import Landmarks
from i2z_jax.objectives.face_mesh import FaceMesh
from i2z_jax.types import Array, Float


class MeshLandmarks(NamedTuple):
    """The mesh's landmarks in the crops of some frames."""

    # In px, as the pose puts them there and as the mesh does: equal, but each carries
    # the gradient of one alone.
    by_pose: Float[Array, "b l 2"]
    by_mesh: Float[Array, "b l 2"]
    # In camera space, mm; no gradient.
    in_camera: Float[Array, "b l 3"]


def mesh_landmarks(
    vertices: Float[Array, "b n 3"],
    pose: Float[Array, "b 6"],
    face_mesh: FaceMesh,
    nearness: Float[Array, ""],
    image_size: int,
) -> MeshLandmarks:
    """The landmarks of meshes under a head pose, for `landmark_distance`.

    Args:
        nearness: of the video's camera, 1/mm.
        image_size: side of the crop, px.
    """
    fixed_vertices, fixed_pose = jax.lax.stop_gradient((vertices, pose))
    marks = face_mesh.landmarks(fixed_vertices)
    return MeshLandmarks(
        projected_landmarks(fixed_vertices, pose, face_mesh, nearness, image_size),
        projected_landmarks(vertices, fixed_pose, face_mesh, nearness, image_size),
        rotate(marks, view_from_head(fixed_pose)),
    )


def projected_landmarks(
    vertices: Float[Array, "b n 3"],
    pose: Float[Array, "b 6"],
    face_mesh: FaceMesh,
    nearness: Float[Array, ""],
    image_size: int,
) -> Float[Array, "b l 2"]:
    """Where the detector should see the mesh's landmarks, in pixels of the crop.

    Args as of `mesh_landmarks`.
    """
    points = project_near(pose, face_mesh.landmarks(vertices), vertices, nearness)
    return pixels_from_unit(points[..., :2], image_size)


def landmark_distance(
    seen: MeshLandmarks, detected: Landmarks, face_mesh: FaceMesh
) -> Float[Array, ""]:
    """Mean distance, px, each landmark as far as it is trusted."""
    trust = detected.confidence * face_mesh.landmark_trust[None]
    # Points of the contour slide: how far along it is not known.
    fixed = trust * ~face_mesh.on_contour[None]
    missing = jax.lax.stop_gradient(detected.points - seen.by_mesh)
    change = fit_change(seen.in_camera, missing, fixed)
    turned = seen.by_mesh + change.moved(seen.in_camera)

    def distance(points):
        each = landmark_loss(points, detected.points, face_mesh.on_contour)
        return weighted_mean(each, trust)

    of_mesh = distance(turned)
    return distance(seen.by_pose) + of_mesh - jax.lax.stop_gradient(of_mesh)
