# SPDX-License-Identifier: Apache-2.0
"""Mesh files and normals: what comes before a topology (DESIGN section 7).

A face mesh has two index sets over the same triangles: `faces` into the vertices and
`uv_faces` into the texture coordinates, because a vertex on a seam has several UVs.
General mesh loaders merge or split vertices to get rid of one of the two; the reader
here keeps both, in file order, since vertex i of a `.bin` is vertex i of the OBJ.
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from i2z_jax.errors import InputError
from i2z_jax.files import reading, write_aside
from i2z_jax.types import ArrayLike, Float, Int, NDArray


class ObjMesh(NamedTuple):
    """The triangles of an OBJ file, with separate texture coordinates."""

    vertices: Float[NDArray, "n 3"]
    """float32, the file's unit (mm in this project)."""
    uvs: Float[NDArray, "m 2"]
    """float32, (0, 0) at the bottom left of a picture of the texture."""
    faces: Int[NDArray, "tri 3"]
    """int32 vertex indices, from 0."""
    uv_faces: Int[NDArray, "tri 3"]
    """int32 UV indices of the same corners."""


def read_obj(path: str | Path) -> ObjMesh:
    """Read `v`, `vt` and `f` lines; polygons become fans of triangles.

    Negative indices count back from the last element read so far, as the format
    has it. Normals, groups, materials and a third texture coordinate are ignored.

    Raises:
        InputError: not readable, no vertices or faces, no UVs, an index out of
            range, a number that is not one or not finite.
    """
    path = Path(path)
    vertices, uvs, corners = [], [], []
    with reading(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        kind, *words = line.split("#", 1)[0].split() or [""]
        try:
            if kind == "v":
                x, y, z, *_ = map(float, words)
                vertices.append((x, y, z))
            elif kind == "vt":
                u, v, *_ = map(float, words)
                uvs.append((u, v))
            elif kind == "f":
                polygon = [_corner(word, len(vertices), len(uvs)) for word in words]
                first, second, third, *_ = polygon
                corners.append((first, second, third))
                corners += [(first, *pair) for pair in pairwise(polygon[2:])]
        except InputError as error:
            raise InputError(str(error), where=f"{path}:{number}") from error
        except ValueError as error:
            raise InputError(
                f"cannot read the line {line.strip()!r}", where=f"{path}:{number}"
            ) from error
    if not vertices or not corners:
        missing = "faces (f lines)" if vertices else "vertices (v lines)"
        raise InputError(f"no {missing}", where=path, fix="is it an OBJ mesh?")
    index = np.asarray(corners, np.int64)
    mesh = ObjMesh(
        np.asarray(vertices, np.float32),
        np.asarray(uvs, np.float32).reshape(-1, 2),
        index[..., 0].astype(np.int32),
        index[..., 1].astype(np.int32),
    )
    for name, values in (("vertex", mesh.vertices), ("UV", mesh.uvs)):
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise InputError(
                f"{name} {bad[0] + 1} is not finite",
                where=path,
                got=values[bad[0]].tolist(),
            )
    # After the fact: the format lets a face name vertices of later lines.
    for name, values, size in (
        ("vertices", mesh.faces, len(vertices)),
        ("UVs", mesh.uv_faces, len(uvs)),
    ):
        if values.max() >= size:
            raise InputError(
                f"a face names {name} the file does not have",
                where=path,
                expected=f"1 to {size}",
                got=int(values.max()) + 1,
            )
    return mesh


def read_obj_vertices(path: str | Path) -> Float[NDArray, "n 3"]:
    """The `v` lines alone, float64: of meshes whose triangles are known.

    Raises:
        InputError: not readable, no vertices, a number that is not one or not finite.
    """
    path = Path(path)
    vertices = []
    with reading(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.lstrip().startswith(("v ", "v\t")):
            continue
        try:
            x, y, z, *_ = map(float, line.split("#", 1)[0].split()[1:])
        except ValueError as error:
            raise InputError(
                f"cannot read the line {line.strip()!r}", where=f"{path}:{number}"
            ) from error
        if not np.isfinite([x, y, z]).all():
            raise InputError("a vertex is not finite", where=f"{path}:{number}")
        vertices.append((x, y, z))
    if not vertices:
        raise InputError("no vertices (v lines)", where=path, fix="is it an OBJ mesh?")
    return np.array(vertices)


def _corner(word: str, vertices: int, uvs: int) -> tuple[int, int]:
    """Zero-based vertex and UV index of `v/vt` or `v/vt/vn`."""
    vertex, *rest = word.split("/")
    if not rest or not rest[0]:
        raise InputError(
            "face without UV coordinates",
            expected="v/vt or v/vt/vn",
            got=word,
            fix="export the mesh with its UV map",
        )
    pair = []
    for value, size in ((int(vertex), vertices), (int(rest[0]), uvs)):
        index = value - 1 if value > 0 else size + value
        if value == 0 or index < 0:
            raise InputError(
                "index out of range", expected=f"1 to {size} or negative", got=value
            )
        pair.append(index)
    return pair[0], pair[1]


def write_obj(path: str | Path, mesh: ObjMesh, *, overwrite: bool = False) -> None:
    """Write an OBJ that `read_obj` reads back to the same float32 values.

    Raises:
        InputError: the path exists and `overwrite` is off, or cannot be written.
    """
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in mesh.vertices.tolist()]
    lines += [f"vt {u:.9g} {v:.9g}" for u, v in mesh.uvs.tolist()]
    lines += [
        "f " + " ".join(f"{v + 1}/{t + 1}" for v, t in zip(face, uv_face, strict=True))
        for face, uv_face in zip(
            mesh.faces.tolist(), mesh.uv_faces.tolist(), strict=True
        )
    ]
    with write_aside(path, overwrite=overwrite) as aside:
        aside.write_text("\n".join(lines) + "\n")


def face_normals(
    vertices: Float[ArrayLike, "*b n 3"], faces: Int[ArrayLike, "tri 3"]
) -> Float[ArrayLike, "*b tri 3"]:
    """Unit normals, outward where corners run counter-clockwise seen from outside.

    Zero for triangles without area. NumPy in, NumPy out.
    """
    return _unit(_area_normals(vertices, faces))


def vertex_normals(
    vertices: Float[ArrayLike, "*b n 3"], faces: Int[ArrayLike, "tri 3"]
) -> Float[ArrayLike, "*b n 3"]:
    """Unit vertex normals: the mean of adjacent face normals, weighted by area.

    Zero for a vertex without triangles. NumPy in, NumPy out.
    """
    normals = _area_normals(vertices, faces)
    total = vertices.__array_namespace__().zeros_like(vertices)
    for corner in range(3):
        if isinstance(total, np.ndarray):
            place = (..., np.asarray(faces)[:, corner], slice(None))
            np.add.at(total, place, normals)  # pyrefly: ignore
        else:
            total = total.at[..., faces[:, corner], :].add(normals)
    return _unit(total)


def _area_normals(vertices, faces):
    xp = vertices.__array_namespace__()
    faces = jnp.asarray(faces) if xp is jnp else np.asarray(faces)
    first, second, third = (vertices[..., faces[:, i], :] for i in range(3))
    return xp.linalg.cross(second - first, third - first)


def _unit(vectors):
    xp = vectors.__array_namespace__()
    squared = xp.sum(vectors * vectors, axis=-1, keepdims=True)
    # The inner `where` keeps the square root's gradient finite at zero.
    safe = xp.where(squared > 0, squared, 1.0)
    return vectors * xp.where(squared > 0, 1 / xp.sqrt(safe), 0.0).astype(vectors.dtype)
