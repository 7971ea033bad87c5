# SPDX-License-Identifier: Apache-2.0
"""A scanned mesh as an animatable head, driven by its landmarks.

Expressions displace the landmarks; all other vertices follow a biharmonic deformation
field (smooth, zero far from the face), so nothing but the mesh and its 68 landmarks is
needed. Expressions add up linearly.

Limitations of a single scan: Multiface's mesh has no mouth opening, no eyeballs and no
lid folds. A sheet of long triangles joins its lips; it is left out of the field, so
that the lips part, and its texels are painted dark. Eyes are part of the skin, so a
blink squeezes them.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from i2z_jax.errors import InputError
from i2z_jax.geometry import multiface_landmarks
from i2z_jax.geometry.landmark_map import with_landmarks
from i2z_jax.geometry.topology import Topology, landmark_points, texel_map
from i2z_jax.synth.scan_expressions import expressions, handle_points
from i2z_jax.types import Array, Bool, Float, NDArray

# Skin this far from every landmark does not move, mm.
REACH_MM = 45.0
# Linear colour of the inside of a mouth.
MOUTH = np.array([0.030, 0.012, 0.010])


@dataclass(frozen=True, eq=False)
class ScanHead:
    """The `Head` of one mesh. Build it with `scan_head`."""

    topology: Topology
    rest: Float[NDArray, "n 3"]
    expression_names: tuple[str, ...]
    moves: Float[NDArray, "k n 3"]

    def vertices(self, weights: Float[Array, "*b k"]) -> Float[Array, "*b n 3"]:
        """Head space, mm; weights of 1 are full expressions."""
        moves = jnp.asarray(self.moves, jnp.float32)
        rest = jnp.asarray(self.rest, jnp.float32)
        moved = jnp.tensordot(weights, moves, axes=1)
        return rest.reshape((1,) * (moved.ndim - 2) + rest.shape) + moved

    @cached_property
    def mouth_sheet(self) -> Bool[NDArray, "tri"]:
        """The triangles between the lips."""
        return _mouth_sheet(self.topology)


def scan_head(vertices: Float[NDArray, "n 3"], topology: Topology) -> ScanHead:
    """Build a `ScanHead`: solve the deformation of every expression.

    Args:
        vertices: head space, mm.
        topology: of the scan, with a landmark map, or Multiface's without.

    Raises:
        InputError: no landmark map is known, or it does not look like a face in mm.
    """
    if topology.landmark_faces is None:
        if not multiface_landmarks.is_multiface(topology):
            raise InputError(
                "no landmark map for this mesh",
                where="--topology",
                fix="derive one with `i2z data landmark-map`",
            )
        faces, weights = multiface_landmarks.landmark_map(topology)
    else:
        faces, weights = topology.landmark_faces, topology.landmark_barycentric
        assert weights is not None  # a map has both
    rest = np.asarray(vertices, float)
    topology = with_landmarks(topology, faces, weights, rest)
    marks = landmark_points(topology, rest)
    eyes = np.linalg.norm(marks[36] - marks[45])
    if not 60 < eyes < 140 or marks[45, 0] < marks[36, 0] or marks[8, 1] > marks[27, 1]:
        raise InputError(
            "not a face in head space",
            where="--template",
            expected="mm, x to the subject's left, y up, z out of the face",
            got=f"outer eye corners {eyes:.0f} apart",
        )
    wanted = expressions(marks)
    handles = handle_points(marks)
    solve = _plate(rest, topology, handles)
    moves = np.stack([solve(move) for move in wanted.values()])
    return ScanHead(topology, rest, tuple(wanted), moves.astype(np.float32))


def skin_texture(
    texture: Float[NDArray, "t t 3"], head: ScanHead
) -> Float[NDArray, "t t 3"]:
    """The scan's texture with the inside of the mouth painted between the lips."""
    texels = texel_map(head.topology, len(texture))
    triangle = np.asarray(texels.triangle)
    inside = head.mouth_sheet[np.maximum(triangle, 0)] & (triangle >= 0)
    soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), len(texture) / 700)
    share = np.where(inside, soft, 0)[..., None]
    return (texture * (1 - share) + MOUTH * share).astype(np.float32)


def _plate(rest, topology, handles):
    """(displacements of handles m 3) -> displacements of all vertices n 3."""
    count = len(rest)
    faces = topology.faces[~_mouth_sheet(topology)]
    distances = np.linalg.norm(rest[None] - handles[:, None], axis=2)
    # Uniform weights: scans have even triangles, and slivers cannot upset them.
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ones = np.ones(len(edges))
    graph = sp.coo_matrix((ones, edges.T), (count, count)).tocsr()
    graph = ((graph + graph.T) > 0).astype(float)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    # Multiface's mesh has vertices around the eyes that no triangle uses.
    near = np.where(degree == 0, np.inf, distances).argmin(axis=1)
    laplacian = sp.eye(count) - sp.diags(1 / np.maximum(degree, 1)) @ graph
    energy = (laplacian.T @ laplacian).tocsc()
    # Handles may share a vertex: the first one has it.
    held, first = np.unique(near, return_index=True)
    fixed = (distances.min(axis=0) > REACH_MM) | (degree == 0)
    fixed[held] = True
    free = ~fixed
    factor = splu(energy[free][:, free])

    def solve(moves):
        field = np.zeros((count, 3))
        field[held] = moves[first]
        pull = energy[free][:, fixed] @ field[fixed]
        field[free] = -factor.solve(np.ascontiguousarray(pull))
        return field

    return solve


def _mouth_sheet(topology: Topology) -> np.ndarray:
    """Triangles whose middle lies within the inner lips on the texture chart."""
    assert topology.landmark_faces is not None
    assert topology.landmark_barycentric is not None
    corners = topology.uv_faces[topology.landmark_faces[60:68]]
    weights = topology.landmark_barycentric[60:68, :, None]
    outline = (topology.uvs[corners] * weights).sum(axis=1).astype(np.float32)
    middles = topology.uvs[topology.uv_faces].mean(axis=1)
    inside = [
        cv2.pointPolygonTest(outline[:, None], (float(u), float(v)), False) > 0
        for u, v in middles
    ]
    return np.array(inside)
