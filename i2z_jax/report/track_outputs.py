# SPDX-License-Identifier: Apache-2.0
"""Writes all outputs of a tracking run.

    track.npz                values
    overlay.mp4 (or .png)    drawn from track.npz's values and the decoder
    mesh.glb, meshes/        for other tools
    blendshapes.csv, .glb    for animators
    mesh.usdz                for pipelines of visual effects
    report.html              for a person

Each is written aside and renamed, so that no file is ever half-written.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2z_jax import console
from i2z_jax.data.images import encode
from i2z_jax.data.video_writer import write_video
from i2z_jax.drawing import narrowed
from i2z_jax.files import write_aside
from i2z_jax.geometry.blendshapes import BlendShapes
from i2z_jax.geometry.camera import view_direction
from i2z_jax.geometry.topology import landmark_points
from i2z_jax.report.blend_weights import write_weights
from i2z_jax.report.gltf import write_glb
from i2z_jax.report.morphs import morphs, named_morphs
from i2z_jax.report.overlay import Overlay
from i2z_jax.report.sequence import Format, write_sequence
from i2z_jax.report.track_page import PageContent, track_page
from i2z_jax.spacing import evenly_spaced
from i2z_jax.track import result, source
from i2z_jax.track.networks import Networks
from i2z_jax.track.result import Track
from i2z_jax.track.run import vertices_of
from i2z_jax.track.smooth import interpolated, latency_s, smoothed
from i2z_jax.types import Float, NDArray, UInt8

OUTPUTS = (
    "track.npz",
    "overlay.mp4",
    "overlay.png",
    "mesh.glb",
    "meshes",
    "blendshapes.csv",
    "blendshapes.glb",
    "mesh.usdz",
    "report.html",
)
KEY_FRAMES = 6
# Pictures in the page are at most this wide, px.
PICTURE_WIDTH = 960

Writing = Callable[[str], AbstractContextManager[Path]]


@dataclass(frozen=True)
class OutputOptions:
    """Post-processing and optional outputs."""

    smooth_hz: float | None = None
    interpolate: bool = False
    vertices: bool = False
    meshes: Format | None = None
    blendshapes: BlendShapes | None = None
    usd: bool = False


def write_outputs(
    networks: Networks,
    track: Track,
    video: Path,
    out: Path,
    options: OutputOptions,
    *,
    only_values: bool = False,
) -> Track:
    """Write the outputs to `out`; returns the track as written.

    Args:
        networks: with the system that made the track.
        track: the run's result.
        video: what was tracked, for the pictures.
        out: the folder.
        options: options of the run.
        only_values: write track.npz alone, of an interrupted run.
    """
    notes: list[str] = []
    if options.interpolate:
        track = interpolated(track)
    raw = track
    if options.smooth_hz is not None:
        track = smoothed(track, options.smooth_hz)
        lag = 1000 * latency_s(options.smooth_hz)
        notes.append(
            f"Smoothed (One-Euro, {options.smooth_hz:g} Hz): slow motion lags by "
            f"{lag:.0f} ms, quick motion by less."
        )
    topology = networks.system.topology
    mesh_landmarks = _mesh_landmarks(networks, track)
    with _replacing(out) as writing:
        with writing("track.npz") as aside:
            stored = (v for _, v in vertices_of(networks, track))
            result.save(
                aside,
                track,
                faces=topology.faces,
                mesh_landmarks=mesh_landmarks,
                vertices=stored if options.vertices else None,
            )
        if only_values:
            return track
        unfiltered = None if raw is track else _mesh_landmarks(networks, raw)
        key_frames = _write_overlay(networks, track, mesh_landmarks, video, writing)
        content = PageContent(key_frames, mesh_landmarks, unfiltered, notes)
        texture = None
        if count := int(track.usable.sum()):
            texture = _frontal_texture(networks, track)

            def sequence() -> Iterator[Float[NDArray, "n 3"]]:
                return meshes(networks, track)

            shape = morphs(sequence, count)
            with writing("mesh.glb") as aside:
                write_glb(aside, track, shape, topology, texture)
            glb = (out / "mesh.glb").read_bytes()
            content = content._replace(glb=glb, worst_mm=shape.worst_mm)
            if options.meshes is not None:
                with writing("meshes") as aside:
                    numbers = np.flatnonzero(track.usable).tolist()
                    numbered = zip(numbers, sequence(), strict=True)
                    write_sequence(aside, numbered, topology, texture, options.meshes)
            if options.blendshapes is not None:
                named = named_morphs(sequence, count, options.blendshapes)
                with writing("blendshapes.glb") as aside:
                    write_glb(aside, track, named, topology, texture)
                with writing("blendshapes.csv") as aside:
                    write_weights(aside, track, named)
                content = content._replace(named=named)
        else:
            notes.append(
                "No frame has landmarks of enough confidence, so there is no mesh in "
                "any format: look at the curves, then lower --min-confidence, or adapt "
                "the network."
            )
        with writing("report.html") as aside:
            text = track_page(track, content, networks.clock)
            aside.write_text(text, encoding="utf-8")
        # Last: it may be more than a .usdz can hold.
        if options.usd and texture is not None:
            from i2z_jax.report.usd import write_usdz  # needs an optional library

            with writing("mesh.usdz") as aside:
                write_usdz(aside, track, meshes(networks, track), topology, texture)
        return track


@contextmanager
def _replacing(out: Path) -> Iterator[Writing]:
    """A way to write outputs by name. Those of an earlier run that are not made again
    are removed at the end; a run that fails leaves them."""
    made: set[str] = set()

    def writing(name: str) -> AbstractContextManager[Path]:
        made.add(name)
        return write_aside(out / name, overwrite=True)

    yield writing
    for name in OUTPUTS:
        path = out / name
        if name in made:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _mesh_landmarks(
    networks: Networks, track: Track
) -> Float[NDArray, "f 68 2"] | None:
    topology = networks.system.topology
    if topology.landmark_faces is None:
        return None
    parts = [
        part.project(np.asarray(landmark_points(topology, vertices)), vertices)[..., :2]
        for part, vertices in vertices_of(networks, track)
    ]
    return np.concatenate(parts)


def _write_overlay(
    networks: Networks,
    track: Track,
    mesh_landmarks: Float[NDArray, "f 68 2"] | None,
    video: Path,
    writing: Writing,
) -> list[tuple[int, bytes]]:
    """The video (of one picture, a picture); returns some frames of it as WebP."""
    clock = networks.clock
    overlay = Overlay(networks, track, mesh_landmarks)
    wanted = _key_rows(track)
    kept: list[tuple[int, bytes]] = []

    def drawn() -> Iterator[tuple[float, UInt8[NDArray, "h w 3"]]]:
        frames = clock.each("decode", source.frames(video, len(track)))
        pictures = ((frame.number, frame.image) for frame in frames)
        panels = console.progress(overlay.frames(pictures), "overlay", total=len(track))
        for row, image in enumerate(panels):
            if row in wanted:
                kept.append((row, encode(narrowed(image, PICTURE_WIDTH), "webp")))
            yield float(track.time_s[row]), image

    if source.is_picture(video):
        ((_, image),) = drawn()
        with writing("overlay.png") as aside:
            aside.write_bytes(encode(image, "png"))
        return kept
    with writing("overlay.mp4") as aside:
        before = sum(clock.seconds.values())
        with clock.stage("encode"):
            count = write_video(aside, drawn(), preset="veryfast")
        # Encoding drives the stages before it: their time is not its own.
        inside = sum(clock.seconds.values()) - before - clock.seconds["encode"]
        clock.add("encode", -inside, count)
    return kept


def _key_rows(track: Track) -> set[int]:
    """Frames for the page: spread over those with a face, or over all."""
    rows = np.flatnonzero(track.usable)
    rows = rows if len(rows) else np.arange(len(track))
    return set(rows[evenly_spaced(len(rows), KEY_FRAMES)].tolist())


def _frontal_texture(networks: Networks, track: Track) -> UInt8[NDArray, "t t 3"]:
    """The decoded texture of the frame that looks straightest into the camera."""
    angles = np.abs(track.pose[:, 1:3]).sum(axis=1)
    row = int(np.nanargmin(np.where(track.usable, angles, np.nan)))
    z, pose = (a[row : row + 1].astype(np.float32) for a in (track.z, track.pose))
    texture = networks.texture(z, np.asarray(view_direction(pose)))[0]
    return np.round(texture * 255).astype(np.uint8)


def meshes(networks: Networks, track: Track) -> Iterator[Float[NDArray, "n 3"]]:
    """The decoded mesh of every usable frame, mm."""
    for part, vertices in vertices_of(networks, track):
        yield from vertices[part.usable]
