# SPDX-License-Identifier: Apache-2.0
"""Validator of captures in Multiface layout (`data/multiface.py` has the layout).

Every file of the list is looked for and every mesh read; of the pictures, the end of
each file is looked at (which is where an interrupted copy shows) and a sample decoded.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from i2z_jax import console
from i2z_jax.data import framing, images
from i2z_jax.data.build_options import MultiviewOptions
from i2z_jax.data.capture_topology import topology_of, without_topology
from i2z_jax.data.check_report import (
    CELL,
    DOT,
    MOST_CELLS,
    Report,
    brightened,
    near_side,
)
from i2z_jax.data.krt import CalibratedCamera
from i2z_jax.data.multiface import AVERAGE, Capture, Frame
from i2z_jax.data.warp import sample_crop
from i2z_jax.drawing import GREEN, draw_dots
from i2z_jax.errors import InputError
from i2z_jax.geometry.crop import apply_affine
from i2z_jax.spacing import evenly_spaced

# Every PNG ends with this chunk.
_PNG_END = b"IEND\xaeB`\x82"
# Pictures that are decoded whole.
DECODED = 48

# A frame, and the camera that sees it.
View = tuple[Frame, str]


def recognises(path: Path) -> bool:
    """Whether any of the layout's landmarks is there."""
    return any((path / n).exists() for n in ("KRT", "frame_list.txt", "tracked_mesh"))


def look(path: Path) -> Report:
    """Validate a capture."""
    report = Report("multiface capture")
    capture = _opened(path, report)
    if capture is None:
        return report
    _topology(path, report)
    whole, views = _files(capture, report)
    if not views:
        report.error("nothing whole", f"{path}: no frame has mesh, pose, average, view")
        return report
    sample = [views[place] for place in evenly_spaced(len(views), DECODED)]
    unreadable, outside = _pictures(capture, sample, report)
    if len(unreadable) == len(sample):
        report.error("nothing readable", f"{path}: none of {len(sample)} pictures is")
        return report
    _textures(capture, whole, views, report)
    _outside(path, outside, len(sample), report)
    _draw(capture, [view for view in views if view not in unreadable], report)
    return report


def _opened(path: Path, report: Report) -> Capture | None:
    try:
        capture = Capture(path)
        _ = capture.statistics
        vertices = capture.vertex_count
    except InputError as error:
        report.error("capture", str(error))
        return None
    report.facts = {
        "cameras": len(capture.cameras),
        "segments": len(capture.segments),
        "frames": len(capture.frames),
        "vertices": vertices,
        "texture": "x".join(map(str, capture.statistics.texture_mean.shape[:2])),
    }
    return capture


def _topology(path: Path, report: Report) -> None:
    try:
        if topology_of(path, MultiviewOptions()) is None:
            report.gap("no topology", without_topology(path))
    except InputError as error:
        report.error("topology", str(error))


def _files(capture: Capture, report: Report) -> tuple[list[Frame], list[View]]:
    """The frames that are whole, and their views whose pictures are there."""
    cameras = _cameras(capture, report)
    whole, views = [], []
    for frame in console.progress(capture.frames, "frames"):
        if _frame(capture, frame, report):
            whole.append(frame)
        views += [
            (frame, name)
            for name in cameras[frame.segment]
            if _file(report, "image", capture.paths.image(frame, name))
            and frame in whole[-1:]
        ]
        for name in cameras[frame.segment]:
            _file(report, "texture", capture.paths.texture(frame, name))
    report.facts |= {"frames that are whole": len(whole), "views": len(views)}
    return whole, views


def _pictures(
    capture: Capture, sample: list[View], report: Report
) -> tuple[set[View], list[View]]:
    """Of some views, those whose picture is unreadable, and those whose mesh lies
    outside it."""
    sizes: Counter[str] = Counter()
    unreadable, outside = set(), []
    for view in console.progress(sample, "pictures"):
        path = capture.paths.image(*view)
        image = report.attempt(
            "unreadable picture", lambda p=path: images.read_picture(p)
        )
        if image is None:
            unreadable.add(view)
            continue
        sizes[f"{image.shape[1]}x{image.shape[0]}"] += 1
        if not _in_picture(capture, *view, image):
            outside.append(view)
    report.facts["pictures"] = ", ".join(sizes)
    if len(sizes) > 1:
        report.gap("wrong size", f"{capture.paths.root}: pictures of {dict(sizes)}")
    return unreadable, outside


def _outside(path: Path, views: list[View], looked_at: int, report: Report) -> None:
    """A face may leave a picture; where most do, the numbers do not fit."""
    lines = [f"{frame.segment} {frame.number} camera {name}" for frame, name in views]
    if len(lines) > looked_at / 2:
        report.error(
            "mesh and camera disagree",
            f"{path}: the mesh lies outside the picture in {len(lines)} of "
            f"{looked_at} views (first: {lines[0]}); is KRT world -> camera in mm, "
            "and _transform.txt head -> world?",
        )
        return
    for line in lines:
        report.gap("face outside the picture", line)


def _cameras(capture: Capture, report: Report) -> dict[str, list[str]]:
    """The cameras each segment has, and the ones it should not or has not."""
    found = {}
    for segment in capture.segments:
        folder, there = capture.paths.images(segment), capture.filmed_by(segment)
        found[segment] = [name for name in capture.cameras if name in there]
        for name in sorted(there - set(capture.cameras)):
            report.gap("camera absent from KRT", f"{folder / name}")
        if absent := [name for name in capture.cameras if name not in there]:
            report.gap("camera without images", f"{folder}: {', '.join(absent)}")
        if not (capture.paths.root / "unwrapped_uv_1024" / segment / AVERAGE).is_dir():
            report.gap(
                "segment without average/",
                f"{capture.paths.root / 'unwrapped_uv_1024' / segment / AVERAGE}",
            )
    return found


def _frame(capture: Capture, frame: Frame, report: Report) -> bool:
    """Whether mesh, pose and average texture of a frame are there and sound."""
    mesh = report.attempt("mesh", lambda: capture.vertices(*frame))
    pose = report.attempt("head pose", lambda: capture.world_from_head(*frame))
    average = _file(report, "average texture", capture.paths.texture(frame))
    return mesh is not None and pose is not None and average


def _file(report: Report, kind: str, path: Path) -> bool:
    """Whether a PNG is there and has its end."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - len(_PNG_END), 0))
            end = file.read()
    except OSError as error:
        report.gap(f"missing {kind}", f"{path}: {error.strerror}")
        return False
    if end != _PNG_END:
        problem = "empty" if size == 0 else "truncated, or not a PNG"
        report.gap(f"damaged {kind}", f"{path}: {problem}")
        return False
    return True


def _textures(
    capture: Capture, whole: list[Frame], views: list[View], report: Report
) -> None:
    """Some textures of frames and of views. One that is smaller than what is stored
    costs its frame or its view; if all are, nothing can be built."""
    side = min(MultiviewOptions().texture_size, len(capture.statistics.texture_mean))
    of_views = [capture.paths.texture(*view) for view in views]
    there = [path for path in of_views if path.exists()]
    if not there:
        report.error(
            "no textures",
            f"{capture.paths.root}: no view has one; a build needs --no-view-textures",
        )
    for paths in ([capture.paths.texture(frame) for frame in whole], there):
        sample = [paths[i] for i in evenly_spaced(len(paths), MOST_CELLS)]
        wrong = []
        for path in sample:
            image = report.attempt(
                "unreadable texture", lambda p=path: images.read_picture(p)
            )
            if image is None:
                continue
            height, width = image.shape[:2]
            if height != width or height < side:
                wrong.append(
                    f"{path}: texture of {width}x{height}, a build stores {side}x{side}"
                )
        if wrong and len(wrong) == len(sample):
            report.error(
                "wrong size",
                f"{wrong[0]}; so it is with all that were looked at, which need a "
                "build with --texture-size",
            )
            continue
        for line in wrong:
            report.gap("wrong size", line)


def _projected(
    capture: Capture, frame: Frame, camera: CalibratedCamera
) -> tuple[np.ndarray, np.ndarray]:
    vertices = capture.vertices(*frame).astype(np.float64)
    return camera.project(capture.world_from_head(*frame), vertices)


def _in_picture(capture: Capture, frame: Frame, name: str, image: np.ndarray) -> bool:
    points, depth = _projected(capture, frame, capture.cameras[name])
    if not (depth > 0).all():
        return False
    centre = np.median(points, axis=0)
    return bool(((centre > 0) & (centre < image.shape[1::-1])).all())


def _draw(capture: Capture, views: list[View], report: Report) -> None:
    for frame, name in _varied(views):
        path = capture.paths.image(frame, name)
        image = report.attempt(
            "unreadable picture", lambda p=path: images.read_picture(p)
        )
        if image is None:
            continue
        points, depth = _projected(capture, frame, capture.cameras[name])
        if not (depth > 0).all():
            continue
        # The whole head and its surroundings, so that a shift shows.
        crop_from_image = framing.crop_for_box(framing.mesh_box(points), "mesh", CELL)
        crop_from_image = np.array([[0.7], [0.7]]) * crop_from_image
        crop_from_image[:, 2] += 0.15 * CELL
        drawn = np.asarray(apply_affine(crop_from_image, points))
        cell = brightened(sample_crop(image, crop_from_image, CELL))
        draw_dots(cell, near_side(drawn, depth), GREEN, DOT)
        report.cells.append((f"{frame.segment} {frame.number} {name}", cell))


def _varied(views: list[View]) -> Iterator[View]:
    """Views with segments and cameras mixed: each camera's turn at another moment."""
    names = list(dict.fromkeys(name for _, name in views))
    picked = [names[i] for i in evenly_spaced(len(names), MOST_CELLS)]
    for turn in range(MOST_CELLS):
        name = picked[turn % len(picked)]
        own = [view for view in views if view[1] == name]
        index = turn * len(own) // MOST_CELLS
        if turn >= len(picked) * len(own):
            return
        yield own[index]
