# SPDX-License-Identifier: Apache-2.0
"""`report.html` of a track: status, confidence, speed and a 3D view."""

from typing import NamedTuple

import numpy as np

from i2z_jax.data import landmarks68
from i2z_jax.evaluate.metrics import second_difference
from i2z_jax.report.morphs import Morphs
from i2z_jax.report.page import (
    Block,
    Gallery,
    Head,
    Picture,
    Plot,
    Section,
    Table,
    Text,
    Tiles,
    page,
)
from i2z_jax.report.plots import COLOURS, curves
from i2z_jax.stopwatch import COMPILE, Stopwatch
from i2z_jax.track.result import Status, Track
from i2z_jax.types import Float, NDArray
from i2z_jax.wording import counted

STAGES = {
    "decode": "decoding the video, all passes",
    "detect": "detector, seconds of its threads together",
    "crop": "cutting crops",
    "landmarks": "landmark stream, for the crops",
    "net": "I2ZNet",
    "decoder": "decoder: mesh",
    "render": "decoder and drawing the face",
    "overlay": "laying it over the frame",
    "encode": "encoding overlay.mp4",
    COMPILE: "compiling, once for each program",
}
_MEANING = {
    Status.TRACKED: "the detector saw the face in this frame",
    Status.FOLLOWED: "between detections, by the face's own landmarks",
    Status.INTERPOLATED: "no face was seen; bridged between neighbours",
    Status.LOST: "no face, or landmarks of too little confidence",
    Status.UNREADABLE: "the frame could not be decoded",
}


class PageContent(NamedTuple):
    """What the page shows beside the track's numbers."""

    key_frames: list[tuple[int, bytes]]  # frame number, encoded picture
    mesh_landmarks: Float[NDArray, "f 68 2"] | None
    # As they were before `--smooth`; None without it.
    unfiltered: Float[NDArray, "f 68 2"] | None
    notes: list[str]
    glb: bytes | None = None
    worst_mm: float = 0.0
    # Weights of blend shapes, if a set was given.
    named: Morphs | None = None


def track_page(track: Track, content: PageContent, clock: Stopwatch) -> str:
    """The page as HTML."""
    counts = {s: int((track.status == s).sum()) for s in Status}
    with_face = track.status <= Status.FOLLOWED
    seen = int(with_face.sum())
    width, height = track.frame_size.tolist()
    lead = (
        f"{track.video}: {counted(len(track), 'frame')} of {width} x {height} px, "
        f"{track.time_s[-1] - track.time_s[0]:.1f} s; a face in {seen} of them."
    )
    confidence = track.confidence[with_face].mean() if seen else np.nan
    tiles = [(f"{seen} / {len(track)}", "frames with the face")]
    if np.isfinite(confidence):
        tiles.append((f"{confidence:.2f}", "mean landmark confidence"))
    residual = landmark_residual(track, content.mesh_landmarks)
    if residual is not None:
        median = float(np.nanmedian(residual))
        tiles.append((f"{median:.1f} px", "median landmark residual"))
    if content.mesh_landmarks is not None:
        tiles += _jitter_tile(track, content.mesh_landmarks, content.unfiltered)
    if content.named is not None:
        label = "mean distance of the blend shapes from the mesh"
        tiles.append((f"{content.named.frame_mm.mean():.2f} mm", label))
    likeness = []
    if residual is not None and content.mesh_landmarks is not None:
        likeness = [_likeness(standing_offset_mm(track, content.mesh_landmarks))]
    if (speed := clock.fps("net")) is not None:
        tiles.append((f"{speed:.3g} / s", "frames through I2ZNet"))
    first: list[Block] = [Tiles(tiles), *map(Text, [*likeness, *content.notes])]
    sections = [Section("Result", [*first, _statuses(counts)])]
    if content.key_frames:
        sections.append(Section("Key frames", [_gallery(track, content)]))
    if content.glb is not None:
        caption = (
            "Drag to turn. The mesh of mesh.glb, whose morphs are within "
            f"{content.worst_mm:.2g} mm of the decoded vertices in every frame; its "
            "texture is that of the most frontal frame."
        )
        sections.append(Section("The face", [Head(content.glb, caption)]))
    sections.append(Section("Over time", _plots(track, residual, content)))
    sections.append(Section("Speed", [_speed(clock)]))
    return page(f"Track of {track.video}", lead, sections)


def landmark_residual(
    track: Track, mesh_landmarks: Float[NDArray, "f 68 2"] | None
) -> Float[NDArray, "f"] | None:
    """Mean distance of the mesh's landmarks from the ones that were seen, px; None
    where no frame has both."""
    if mesh_landmarks is None:
        return None
    residual = np.linalg.norm(mesh_landmarks - track.landmarks, axis=-1).mean(axis=-1)
    return residual if np.isfinite(residual).any() else None


def standing_offset_mm(track: Track, mesh_landmarks: Float[NDArray, "f 68 2"]) -> float:
    """How far the landmarks seen stand off the mesh's in the same way all the time, mm.

    Offsets of a wrong pose or expression and of a detector's noise change from frame
    to frame; those of another face than the captured one stay. They are turned upright
    and taken to mm frame by frame, averaged over the video, and their RMS over brows,
    eyes, nose and mouth is the answer. The jaw's points slide with the view and are
    left out.
    """
    rows = np.flatnonzero(track.usable)
    inner = slice(landmarks68.PARTS["jaw"].stop, None)
    pose = track.frame_pose()[rows]
    offset = (track.landmarks[rows] - mesh_landmarks[rows])[:, inner]
    offset = offset / pose[:, None, None, 0]
    cos, sin = np.cos(pose[:, 3, None]), np.sin(pose[:, 3, None])
    x, y = offset[..., 0], offset[..., 1]
    upright = np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)
    return float(np.sqrt((upright.mean(axis=0) ** 2).sum(axis=-1).mean()))


def _likeness(standing_mm: float) -> str:
    """How closely the mesh can be expected to resemble the person."""
    return (
        "The mesh is the captured person's, whoever is in the video. Brows, eyes, nose "
        f"and mouth stand {standing_mm:.1f} mm off it in the same way all the time: "
        "habits of the landmark detector and, of another person, another face "
        "(docs/track.md has figures of both). Of another person expect the head's pose "
        "and the larger motions of the face to be followed, and neither shape nor look."
    )


def jitter(points: Float[NDArray, "f l 2"], track: Track) -> Float[NDArray, "f"]:
    """Mean second difference of points over time, px; NaN at ends, beside gaps and
    cuts. A repeated frame says nothing new and is passed over, as in
    `evaluate.temporal`.
    """
    result = np.full(len(points), np.nan)
    kept = np.flatnonzero(track.cut | ~track.duplicate)
    before, now, after = kept[:-2], kept[1:-1], kept[2:]
    shake = second_difference(points[before], points[now], points[after]).mean(axis=-1)
    result[now] = np.where(track.cut[now] | track.cut[after], np.nan, shake)
    return result


def _jitter_tile(
    track: Track,
    mesh_landmarks: Float[NDArray, "f 68 2"],
    unfiltered: Float[NDArray, "f 68 2"] | None,
) -> list[tuple[str, str]]:
    """Jitter in px of the frames and, at the head's distance, in mm; as it was before
    `--smooth`, too."""
    px_per_mm = track.frame_pose()[:, 0]

    def mean(points: Float[NDArray, "f 68 2"]) -> str:
        shake = jitter(points, track)
        return f"{np.nanmean(shake):.2f} px, {np.nanmean(shake / px_per_mm):.2f} mm"

    if not np.isfinite(jitter(mesh_landmarks, track)).any():
        return []
    label = "mean jitter of the mesh's landmarks"
    if unfiltered is not None:
        label += f"; {mean(unfiltered)} without smoothing"
    return [(mean(mesh_landmarks), label)]


def _statuses(counts: dict[Status, int]) -> Table:
    rows = [
        (status.name.lower(), str(count), _MEANING[status])
        for status, count in counts.items()
        if count
    ]
    return Table(("status", "frames", "meaning"), rows)


def _gallery(track: Track, content: PageContent) -> Gallery:
    return Gallery(
        [
            Picture(data, f"Frame {n}, {track.time_s[n]:.2f} s: {_status(track, n)}")
            for n, data in content.key_frames
        ]
    )


def _status(track: Track, row: int) -> str:
    return Status(int(track.status[row])).name.lower()


def _plots(
    track: Track, residual: Float[NDArray, "f"] | None, content: PageContent
) -> list[Block]:
    times = track.time_s
    # A frame is there until the next one.
    ends = np.append(times[1:], times[-1] + (1 / track.fps if track.fps else 1.0))
    lost = list(zip(times[~track.usable], ends[~track.usable], strict=True))
    pose = track.frame_pose()
    degrees = np.degrees(pose[:, 1:4])
    named = {
        "nod (rx)": degrees[:, 0],
        "turn (ry)": degrees[:, 1],
        "tilt (rz)": degrees[:, 2],
    }

    def plot(series: dict[str, NDArray], label: str, caption: str) -> Plot:
        markup = curves(times, series, x_label="s", y_label=label, shaded=lost)
        return Plot(markup, caption)

    blocks: list[Block] = [
        plot(named, "head angles, degrees", "Head rotation. Shaded: no face.")
    ]
    if np.isfinite(track.confidence).any():
        confidence = {"confidence": track.confidence}
        text = "Mean height of the 68 landmark peaks."
        blocks.append(plot(confidence, "landmark confidence", text))
    if residual is not None:
        text = "Distance of the mesh's landmarks from the landmarks seen."
        blocks.append(plot({"residual": residual}, "landmark residual, px", text))
    if content.mesh_landmarks is not None:
        trembling = {"mesh": jitter(content.mesh_landmarks, track)}
        if residual is not None:
            seen = track.landmarks.astype(np.float64)
            trembling["landmarks seen"] = jitter(seen, track)
        if content.unfiltered is not None:
            trembling["mesh, not smoothed"] = jitter(content.unfiltered, track)
        text = (
            "Mean second difference over three frames of a shot, repeated ones passed "
            "over: trembling, and true motion."
        )
        blocks.append(plot(trembling, "jitter, px", text))
    if content.named is not None:
        text = "Weights of the blend shapes that vary most; blendshapes.csv has all."
        blocks.append(plot(_strongest(track, content.named), "blend shapes", text))
    return blocks


def _strongest(track: Track, named: Morphs) -> dict[str, Float[NDArray, "f"]]:
    """The weights that vary most, NaN in frames without a face."""
    chosen = np.argsort(-named.weights.std(axis=0), kind="stable")[: len(COLOURS)]
    weights = np.full((len(track), len(named.names)), np.nan)
    weights[track.usable] = named.weights
    return {named.names[k]: weights[:, k] for k in chosen}


def _speed(clock: Stopwatch) -> Table:
    rows = []
    for stage, what in STAGES.items():
        if stage in clock.seconds:
            fps = clock.fps(stage)
            rows.append(
                (
                    what,
                    str(clock.frames[stage] or ""),
                    f"{clock.seconds[stage]:.2f}",
                    "" if fps is None else f"{fps:.1f}",
                )
            )
    header = ("stage", "frames", "seconds", "frames / s")
    caption = (
        "Of the last call of the command; passes that were done before are not in."
    )
    return Table(header, rows, caption)
