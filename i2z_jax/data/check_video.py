# SPDX-License-Identifier: Apache-2.0
"""Validator of videos and folders of frames."""

from pathlib import Path

import av
import cv2
import numpy as np

from i2z_jax import console
from i2z_jax.data.check_report import CELL, MOST_CELLS, Report
from i2z_jax.data.continuity import Continuity
from i2z_jax.data.face_detector import FINDS, opencv_detector
from i2z_jax.data.frame_folder import holds_videos
from i2z_jax.data.frame_rate import frames_per_second
from i2z_jax.data.truth import truth_of
from i2z_jax.data.video import (
    frame_count,
    is_video,
    passed_over,
    read_frames,
    videos,
)
from i2z_jax.drawing import fitted
from i2z_jax.errors import InputError
from i2z_jax.spacing import evenly_spaced
from i2z_jax.types import Float, NDArray, UInt8

_CYAN = (60, 230, 255)
# A face narrower than this has little for a 256 pixel crop to show.
SMALL_FACE = 96


def recognises(path: Path) -> bool:
    """Whether it is a video, whatever its name, a folder of frames, or a folder of
    videos."""
    if is_video(path) or path.is_dir():
        return is_video(path) or holds_videos(path)
    try:
        with av.open(str(path)) as container:
            kind = container.format.name
            # FFmpeg shows text and stills, too.
            still = kind in ("tty", "image2") or kind.endswith("_pipe")
            return bool(container.streams.video) and not still
    except (OSError, ValueError):  # av's errors are one or the other
        return False


def look(path: Path) -> Report:
    """Validate one video, or each in the folder."""
    report = Report("monocular video")
    found = videos(path)
    if stills := passed_over(path):
        report.facts["passed over"] = stills
    usable = 0
    for video in found:
        try:
            usable += _video(video, report, max(MOST_CELLS // len(found), 1))
        except InputError as error:
            report.gap("unreadable video", str(error))
    if not usable:
        report.error("nothing usable", f"{path}: no video; the gaps say why")
    return report


def _video(path: Path, report: Report, cells: int) -> bool:
    total = frame_count(path)
    wanted = set(evenly_spaced(total or 300, 4 * MOST_CELLS))
    continuity = Continuity()
    times, repeats, cuts, size, converted = [], 0, 0, (0, 0), ""
    # For each frame looked at: number, widths of its faces, a small picture with them.
    looked: list[tuple[int, NDArray, NDArray]] = []
    for frame in console.progress(read_frames(path), path.name, total=total):
        times.append(frame.time_s)
        duplicate, cut = continuity.step(frame)
        repeats, cuts = repeats + duplicate, cuts + cut
        if frame.image is None:
            report.gap("unreadable frame", frame.problem)
        else:
            size = frame.image.shape[1::-1]
            converted = converted or frame.converted
            if frame.number in wanted:
                boxes = opencv_detector(frame.image)[:, :4]
                widths = boxes[:, 2] - boxes[:, 0]
                looked.append((frame.number, widths, _cell(frame.image, boxes)))
    steps = np.diff(times)
    steps = steps[steps > 0]  # two pictures of one number have one time
    report.facts[path.name] = {
        "frames": len(times),
        "size": f"{size[0]}x{size[1]}",
        "colours": f"{converted}, converted to BT.709" if converted else "SDR",
        "seconds": round(times[-1] - times[0], 3),
        "frames a second": round(frames_per_second(np.array(times)), 2) or None,
        "variable rate": bool(len(steps) and np.ptp(steps) > 0.5 * np.median(steps)),
        "repeated frames": repeats,
        "cuts or gaps": cuts - 1,
    }
    sound_truth = True
    try:
        known = truth_of(path, len(times)) is not None
        report.facts[path.name]["ground truth"] = "yes" if known else "none"
    except InputError as error:  # a build leaves the video out
        report.gap("ground truth", str(error))
        sound_truth = False
    found = [widths.max() for _, widths, _ in looked if len(widths)]
    report.facts[path.name]["face found in"] = (
        f"{len(found)} of {len(looked)} looked at"
    )
    if not found:
        report.gap(
            "no face",
            f"{path}: none found (expected {FINDS}); a build needs --boxes FILE",
        )
    elif np.median(found) < SMALL_FACE:
        report.gap("small face", f"{path}: about {np.median(found):.0f} pixels wide")
    for index in evenly_spaced(len(looked), cells):
        number, _, cell = looked[index]
        report.cells.append((f"{path.name} frame {number}", cell))
    return bool(found) and sound_truth


def _cell(
    image: UInt8[NDArray, "h w 3"], boxes: Float[NDArray, "k 4"]
) -> UInt8[NDArray, "h2 w2 3"]:
    """The picture with its boxes, as small as the contact sheet shows it."""
    cell = image.copy()
    for left, top, right, bottom in boxes.round().astype(int).tolist():
        thickness = max(2, cell.shape[1] // 200)
        cv2.rectangle(cell, (left, top), (right, bottom), _CYAN, thickness)
    return fitted(cell, CELL)
