# SPDX-License-Identifier: Apache-2.0
"""A track as one OpenUSD file (`mesh.usdz`), for Blender and other 3D programs.

One mesh whose points are the decoded vertices of every frame, a transform with the
head's rotation, translation and scale, and an orthographic camera that matches the
video frame, all as in `gltf`. Needs usd-core, so it is imported only where it is asked
for.
"""

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pxr import Gf, Kind, Sdf, Tf, Usd, UsdGeom, UsdShade, UsdUtils, Vt

from i2z_jax import __version__
from i2z_jax.data.images import encode
from i2z_jax.errors import InputError
from i2z_jax.geometry.topology import Topology
from i2z_jax.report.head_motion import CAMERA_Z, FAR, METRES, NEAR, head_motion
from i2z_jax.track.result import Track
from i2z_jax.types import Float, Int, NDArray, UInt8

# A camera's aperture is in tenths of the scene's unit (UsdGeomCamera).
APERTURE = 10
# Frames between two writes to the disk: USD holds in memory what is not written yet.
SAVED = 256
# A .usdz is a zip with sizes of 32 bits; the rest is for its headers.
LARGEST = 2**32 - 2**20


def write_usdz(
    path: Path,
    track: Track,
    meshes: Iterator[Float[NDArray, "n 3"]],
    topology: Topology,
    texture: UInt8[NDArray, "t t 3"],
) -> None:
    """Write the scene.

    Memory does not grow with the sequence. Frames without a face are invisible; a cut
    is a jump (`head_motion`).

    Args:
        path: the file.
        track: poses and times of all frames, at least one of them usable.
        meshes: vertices of the usable frames in order, mm.
        topology: faces and UVs.
        texture: row 0 is v = 0.

    Raises:
        InputError: larger than a .usdz can be, or the disk is full.
    """
    png = encode(np.ascontiguousarray(texture[::-1]), "png")
    points = int(track.usable.sum()) * topology.vertex_count
    _refuse_large(path, points * 3 * np.float32().nbytes + len(png))
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            layer, picture = Path(folder) / "mesh.usdc", Path(folder) / "texture.png"
            picture.write_bytes(png)
            _write_layer(layer, track, meshes, topology, f"./{picture.name}")
            # Times, transforms and faces come on top.
            _refuse_large(path, layer.stat().st_size + len(png))
            UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(layer)), str(path))
    except Tf.ErrorException as error:
        reason = error.args[0].commentary
        raise InputError(f"cannot write ({reason})", where=path.name) from error
    if not _is_whole(path):
        raise InputError("cannot write; is the disk full?", where=path.name)


def _refuse_large(path: Path, size: int) -> None:
    if size > LARGEST:
        raise InputError(
            "too long for a .usdz",
            where=path.name,
            expected="4 GiB at most",
            got=f"{size / 2**30:.1f} GiB",
            fix="leave out --usd, or track a part of the video",
        )


def _is_whole(package: Path) -> bool:
    """Whether all can be read back: USD may say nothing of a disk that is full."""
    try:
        with zipfile.ZipFile(package) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def frames_per_second(track: Track) -> float:
    """Of the stage; its time codes are frames at this rate. 24 for a picture."""
    return round(track.fps, 3) or 24.0


def time_codes(track: Track) -> Float[NDArray, "f"]:
    """When the frames are shown, from 0.

    To a tenth of a frame: those of a constant rate are whole numbers then, though most
    containers round their times.
    """
    return np.round((track.time_s - track.time_s[0]) * frames_per_second(track), 1)


def _write_layer(
    path: Path,
    track: Track,
    meshes: Iterator[Float[NDArray, "n 3"]],
    topology: Topology,
    picture: str,
) -> None:
    codes = time_codes(track)
    motion = head_motion(track, codes, Usd.TimeCode.SafeStep())
    stage = Usd.Stage.CreateNew(str(path))
    stage.SetMetadata("comment", f"{track.video}, i2z_jax {__version__}")
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1)
    stage.SetTimeCodesPerSecond(frames_per_second(track))
    stage.SetFramesPerSecond(frames_per_second(track))
    stage.SetStartTimeCode(codes[0])
    stage.SetEndTimeCode(codes[-1])
    root = UsdGeom.Xform.Define(stage, "/track").GetPrim()
    stage.SetDefaultPrim(root)
    Usd.ModelAPI(root).SetKind(Kind.Tokens.component)

    head = UsdGeom.Xform.Define(stage, "/track/head")
    place, turn, size = head.AddTranslateOp(), head.AddOrientOp(), head.AddScaleOp()
    for code, (x, y, z, w), translation, scale in zip(
        motion.time, motion.rotation, motion.translation, motion.scale, strict=True
    ):
        place.Set(Gf.Vec3d(*translation), code)
        turn.Set(Gf.Quatf(w, x, y, z), code)
        size.Set(Gf.Vec3f(*scale), code)
    _camera(stage, motion.frame_metres(track.frame_size))
    mesh = _mesh(stage, topology)
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(_material(stage, picture))
    if not track.usable.all():
        visibility = mesh.CreateVisibilityAttr()
        words = [UsdGeom.Tokens.invisible, UsdGeom.Tokens.inherited]
        changes = np.diff(track.usable, prepend=not track.usable[0])
        for frame in np.flatnonzero(changes):
            visibility.Set(words[int(track.usable[frame])], codes[frame])
    points, extent = mesh.CreatePointsAttr(), mesh.CreateExtentAttr()
    for row, one in enumerate(meshes):
        first, end = np.searchsorted(motion.row, [row, row + 1])
        for code in motion.time[first:end]:
            points.Set(_array(one), code)
            extent.Set(_array(np.stack([one.min(axis=0), one.max(axis=0)])), code)
        if row % SAVED == SAVED - 1:
            stage.Save()
    stage.Save()


def _array(vectors: Float[NDArray, "n 3"]) -> Vt.Vec3fArray:
    return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(vectors, np.float32))


def _mesh(stage: Usd.Stage, topology: Topology) -> UsdGeom.Mesh:
    """All but points and extent, which are in mm as decoded: its scale makes metres."""
    mesh = UsdGeom.Mesh.Define(stage, "/track/head/face")
    mesh.AddScaleOp().Set(Gf.Vec3f(METRES))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateDoubleSidedAttr(True)
    mesh.CreateFaceVertexCountsAttr(_integers(np.full(len(topology.faces), 3)))
    mesh.CreateFaceVertexIndicesAttr(_integers(topology.faces))
    st = UsdGeom.PrimvarsAPI(mesh).CreatePrimvar(
        "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying
    )
    st.Set(Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(topology.uvs, np.float32)))
    st.SetIndices(_integers(topology.uv_faces))
    return mesh


def _integers(values: Int[NDArray, "..."]) -> Vt.IntArray:
    return Vt.IntArray.FromNumpy(np.ascontiguousarray(values.reshape(-1), np.int32))


def _camera(stage: Usd.Stage, frame_metres: Float[NDArray, "2"]) -> None:
    camera = UsdGeom.Camera.Define(stage, "/track/video")
    camera.AddTranslateOp().Set(Gf.Vec3d(0, 0, CAMERA_Z))
    camera.CreateProjectionAttr(UsdGeom.Tokens.orthographic)
    width, height = (frame_metres * APERTURE).tolist()
    camera.CreateHorizontalApertureAttr(width)
    camera.CreateVerticalApertureAttr(height)
    camera.CreateClippingRangeAttr(Gf.Vec2f(NEAR, FAR))


def _material(stage: Usd.Stage, picture: str) -> UsdShade.Material:
    """Unlit, since the light is in the texture already: a black metal that glows.

    The specular colour is the metal's edge in Blender.
    """
    path = Sdf.Path("/track/material")
    material = UsdShade.Material.Define(stage, path)

    def shader(name: str, kind: str) -> UsdShade.Shader:
        made = UsdShade.Shader.Define(stage, path.AppendChild(name))
        made.CreateIdAttr(kind)
        return made

    kinds = Sdf.ValueTypeNames
    st = shader("st", "UsdPrimvarReader_float2")
    st.CreateInput("varname", kinds.String).Set("st")
    texture = shader("texture", "UsdUVTexture")
    texture.CreateInput("file", kinds.Asset).Set(picture)
    texture.CreateInput("sourceColorSpace", kinds.Token).Set("sRGB")
    for wrap in ("wrapS", "wrapT"):
        texture.CreateInput(wrap, kinds.Token).Set("clamp")
    texture.CreateInput("st", kinds.Float2).ConnectToSource(
        st.CreateOutput("result", kinds.Float2)
    )
    surface = shader("surface", "UsdPreviewSurface")
    for reflected in ("diffuseColor", "specularColor"):
        surface.CreateInput(reflected, kinds.Color3f).Set(Gf.Vec3f(0))
    surface.CreateInput("metallic", kinds.Float).Set(1)
    surface.CreateInput("roughness", kinds.Float).Set(1)
    surface.CreateInput("emissiveColor", kinds.Color3f).ConnectToSource(
        texture.CreateOutput("rgb", kinds.Float3)
    )
    material.CreateSurfaceOutput().ConnectToSource(
        surface.CreateOutput("surface", kinds.Token)
    )
    return material
