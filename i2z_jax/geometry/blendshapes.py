# SPDX-License-Identifier: Apache-2.0
"""Named expressions of a mesh ("jawOpen", "mouthSmileLeft"), as animators have them.

A set is a folder of OBJ files: the face at rest, and one file for each expression at
full strength. A mesh of the same vertices is then `neutral + sum_k w_k moves_k`, and
`fit` finds the weights.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation

from i2z_jax.console import progress
from i2z_jax.errors import InputError
from i2z_jax.files import visible
from i2z_jax.geometry.mesh import ObjMesh, read_obj_vertices, write_obj
from i2z_jax.geometry.topology import Topology
from i2z_jax.types import Float, NDArray

NEUTRAL = "neutral"
# Stronger expressions cost a thousandth of what they move: it chooses between shapes
# that can stand for each other, and takes 0.1 % off a single one.
RIDGE = 1e-3
# A shape that moves the mesh less (root mean square) than this share of the face's
# size has no effect on it: OBJ files are rounded.
STILL = 1e-4
# Placing a set on a face takes a handful of rounds; it ends when nothing moves by more
# than this share of the face's size.
PLACED, MOST_ROUNDS = 1e-6, 50
# A neutral face further from the mean than this share of its size is of another mesh.
STRANGE = 0.1


@dataclass(frozen=True, eq=False)
class BlendShapes:
    """A face at rest and what each expression moves at weight 1, in one unit."""

    names: tuple[str, ...]
    neutral: Float[NDArray, "n 3"]
    moves: Float[NDArray, "k n 3"]

    @property
    def still(self) -> tuple[str, ...]:
        """Shapes without an effect, such as the eyes' on a mesh without eyeballs."""
        amounts = _size(self.moves)
        bound = STILL * _size(self.neutral - self.neutral.mean(axis=0)[None])
        return tuple(n for n, a in zip(self.names, amounts, strict=True) if a <= bound)

    def fit(self, vertices: Float[NDArray, "f n 3"]) -> Float[NDArray, "f k"]:
        """Weights in [0, 1] whose meshes are nearest to these (least squares).

        Args:
            vertices: of the same mesh, in the same place and unit as the set.
        """
        away = (vertices - self.neutral[None]).reshape(len(vertices), -1)
        # |U w - U^-T b| is least where the distance is: k rows in place of 3 n.
        targets = np.linalg.solve(self._root.T, self._columns @ away.T)
        found = [
            lsq_linear(self._root, target, (0, 1), method="bvls").x
            for target in targets.T
        ]
        return np.clip(np.stack(found), 0, 1)  # it may be beyond by rounding

    @property
    def _columns(self) -> Float[NDArray, "k d"]:
        return self.moves.reshape(len(self.names), -1)

    @cached_property
    def _root(self) -> Float[NDArray, "k k"]:
        """Upper Cholesky factor of the normal equations."""
        normal = self._columns @ self._columns.T
        own = np.diag(normal)
        # A shape without an effect gets weight 0, not a singular system.
        ridge = np.where(own > 0, RIDGE * own, 1.0)
        return np.linalg.cholesky(normal + np.diag(ridge)).T

    def meshes(self, weights: Float[NDArray, "f k"]) -> Float[NDArray, "f n 3"]:
        """The meshes of some weights."""
        return self.neutral[None] + np.tensordot(weights, self.moves, axes=1)

    def placed_on(self, vertices: Float[NDArray, "f n 3"]) -> "BlendShapes":
        """The set, turned, scaled and shifted to where these meshes are.

        So a set may be in any unit and place. Weights and place explain the meshes
        together: they are found by turns.

        Args:
            vertices: of the same mesh under various expressions.
        """
        centre = self.neutral.mean(axis=0)
        shapes = replace(self, neutral=self.neutral - centre[None])
        placed, seen = shapes, vertices.reshape(-1, 3)
        meshes = np.broadcast_to(shapes.neutral, vertices.shape)
        face = _size(seen - seen.mean(axis=0)[None])
        for _ in range(MOST_ROUNDS):
            before = placed.neutral
            turn, scale, shift = _similarity(meshes.reshape(-1, 3), seen)
            placed = replace(
                shapes,
                neutral=scale * shapes.neutral @ turn.T + shift[None],
                moves=scale * shapes.moves @ turn.T,
            )
            meshes = shapes.meshes(placed.fit(vertices))
            if _size(placed.neutral - before) < PLACED * face:
                break
        return placed


def read_blend_shapes(folder: Path, face: Float[NDArray, "n 3"]) -> BlendShapes:
    """Read `neutral.obj` (in any case) and one OBJ for each expression, named by it.

    Only the files' vertices are read, in float64.

    Args:
        folder: with the files.
        face: the mean of the mesh that they are of, mm.

    Raises:
        InputError: a missing folder, no neutral face or nothing beside it, a file
            that cannot be read, or vertices of another number or order.
    """
    if not folder.is_dir():
        raise InputError("no such folder", where=folder, expected="blend shapes, *.obj")
    files = [path for path in visible(folder) if path.suffix.lower() == ".obj"]
    neutrals = [path for path in files if path.stem.lower() == NEUTRAL]
    if len(neutrals) != 1 or len(files) < 2:
        raise InputError(
            "not a set of blend shapes",
            where=folder,
            expected=f"{NEUTRAL}.obj, and one .obj for each expression",
            got=f"{len(files)} .obj, {len(neutrals)} of them {NEUTRAL}.obj",
        )
    meshes = {}
    for path in [*neutrals, *(path for path in files if path not in neutrals)]:
        if path.stem in meshes:
            raise InputError("two files of one expression", where=path)
        meshes[path.stem] = read_obj_vertices(path)
        if len(meshes[path.stem]) != len(face):
            raise InputError(
                "a mesh of another number of vertices",
                where=path,
                expected=f"{len(face)}, as the tracker's",
                got=len(meshes[path.stem]),
            )
    neutral = meshes.pop(neutrals[0].stem)
    turn, scale, shift = _similarity(neutral, face)
    distance = float(_size(scale * neutral @ turn.T + shift[None] - face))
    if not distance < STRANGE * _size(face - face.mean(axis=0)[None]):
        raise InputError(
            "not the tracker's face",
            where=neutrals[0],
            expected="its vertices, in its order",
            got=f"{distance:.3g} mm from it",
            fix="export the blend shapes with the vertex order kept",
        )
    moves = np.stack(list(meshes.values())) - neutral[None]
    shapes = BlendShapes(tuple(meshes), neutral, moves)
    moves[np.isin(shapes.names, shapes.still)] = 0
    return shapes


def write_blend_shapes(folder: Path, shapes: BlendShapes, topology: Topology) -> None:
    """Write what `read_blend_shapes` reads.

    Args:
        folder: is made.
        shapes: of the topology's mesh.
        topology: faces and UVs of the files.
    """
    folder.mkdir(parents=True)
    meshes = {NEUTRAL: shapes.neutral}
    for name, move in zip(shapes.names, shapes.moves, strict=True):
        meshes[name] = shapes.neutral + move
    for name, vertices in progress(meshes.items(), "blend shapes", total=len(meshes)):
        mesh = ObjMesh(
            vertices.astype(np.float32), topology.uvs, topology.faces, topology.uv_faces
        )
        write_obj(folder / f"{name}.obj", mesh)


def _similarity(
    points: Float[NDArray, "m 3"], targets: Float[NDArray, "m 3"]
) -> tuple[Float[NDArray, "3 3"], float, Float[NDArray, "3"]]:
    """R, s and t of `s R p + t` nearest to the targets (Umeyama 1991)."""
    middle, goal = points.mean(axis=0), targets.mean(axis=0)
    flat, wanted = points - middle[None], targets - goal[None]
    turn = Rotation.align_vectors(wanted, flat)[0].as_matrix()
    turned = flat @ turn.T
    scale = float((turned * wanted).sum() / (turned**2).sum())
    return turn, scale, goal - scale * turn @ middle


def _size(points: Float[NDArray, "*b n 3"]) -> Float[NDArray, "*b"]:
    """Root mean square length."""
    return np.asarray(np.sqrt((points**2).sum(axis=-1).mean(axis=-1)))
