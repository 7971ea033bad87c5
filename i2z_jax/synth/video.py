# SPDX-License-Identifier: Apache-2.0
"""In-the-wild video of the captured person with ground truth.

A nearer hand-held camera, drifting light, phone-like colour, a moving background,
noise, blur and H.264 compression. The ground truth of `clip.mp4` is `clip.truth.npz`
(`data/truth.py`).
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2z_jax import console
from i2z_jax.data import framing, video_writer
from i2z_jax.data.truth import VideoTruth, truth_path
from i2z_jax.files import write_aside
from i2z_jax.geometry.fit import fit_calibrated_pose
from i2z_jax.geometry.rotation import matrix_from_euler
from i2z_jax.synth import wild
from i2z_jax.synth.motion import chain, free_weights, rigid, smooth_noise
from i2z_jax.synth.portrait import Lens, Portrait, portrait
from i2z_jax.synth.shade import Light, wild_light
from i2z_jax.synth.subject import Subject, face_centre
from i2z_jax.types import Float, NDArray, UInt8

# A phone at arm's length and its field of view: mm, and focal length in units of
# the picture's shorter side. Nearer than the stage, so with more perspective.
PHONE_DISTANCE_MM = 560.0
FOCAL_IN_WIDTHS = 1.6
# How the head turns and wanders at difficulty 1: rad and mm.
ANGLES = np.radians([11.0, 24.0, 7.0])
SHIFT_MM = np.array([28.0, 18.0, 40.0])
MOTION_FRAMES, LIGHT_FRAMES = 22.0, 90.0
# The crop that the ground-truth poses are given in, px.
TRUTH_CROP = 256
# x264's quality: 18 looks untouched, 34 like a bad call.
BEST_CRF, WORST_CRF = 18.0, 34.0


# Expression weights k -> the z of a model that knows this person.
LatentOf = Callable[[Float[NDArray, "k"]], Float[NDArray, "z"]]


@dataclass(frozen=True)
class VideoOptions:
    """Size and difficulty of a video."""

    frames: int
    width: int
    height: int
    fps: int = 30
    difficulty: float = 0.5
    seed: int = 0


def write_video(
    subject: Subject,
    options: VideoOptions,
    path: Path,
    *,
    latent: LatentOf | None = None,
) -> VideoTruth:
    """Render a video and its sidecar.

    Args:
        subject: the person.
        options: size and difficulty.
        path: the .mp4; an existing one is replaced.
        latent: z of an expression; without it the ground truth has no z.

    Returns:
        the ground truth that was written.
    """
    truths: list[tuple] = []

    def frames() -> Iterator[tuple[float, UInt8[NDArray, "h w 3"]]]:
        for weights, shot, lens, image in _frames(subject, options):
            z = () if latent is None else latent(weights)
            time_s = len(truths) / options.fps
            truths.append((*_truth(shot, lens), z))
            yield time_s, image

    with write_aside(path, overwrite=True) as aside:
        crf = BEST_CRF + options.difficulty * (WORST_CRF - BEST_CRF)
        video_writer.write_video(
            aside, console.progress(frames(), path.name, total=options.frames),
            fps=options.fps, crf=crf, preset="veryfast", reproducible=True,
        )  # fmt: skip
        columns = [np.array(column) for column in zip(*truths, strict=True)]
        poses, crops, vertices, landmarks, z = columns
        known = None if latent is None else z
        truth = VideoTruth(poses, crops, TRUTH_CROP, vertices, landmarks, known)
        # The sidecar first: a video without one would look like any other video.
        truth.save(truth_path(path))
    return truth


def _frames(
    subject: Subject, options: VideoOptions
) -> Iterator[tuple[Float[NDArray, "k"], Portrait, Lens, UInt8[NDArray, "h w 3"]]]:
    light = wild_light(np.random.default_rng(options.seed))
    rng = np.random.default_rng(options.seed)
    count, hard = options.frames, options.difficulty
    width, height = options.width, options.height
    size = {"width": width, "height": height}
    centre = face_centre(subject.head)
    weights = free_weights(count, len(subject.head.expression_names), rng)
    # Bounded: a rare large turn would leave the picture.
    motion = 1.5 * np.tanh(smooth_noise(count, 6, MOTION_FRAMES, rng) / 1.5)
    motion *= 0.4 + 0.6 * hard
    angles, shift = motion[:, :3] * ANGLES, motion[:, 3:] * SHIFT_MM
    conditions = wild.Conditions.sample(hard, rng)
    exposure = np.exp(smooth_noise(count, 3, LIGHT_FRAMES, rng) * 0.05 * hard)
    # The background is wider than the picture: the camera wanders over it.
    margin = 1.25
    place = wild.background(
        rng, width=round(width * margin), height=round(height * margin)
    )
    wander = smooth_noise(count, 2, MOTION_FRAMES, rng).clip(-2, 2) / 4 + 0.5
    for row in range(count):
        placed = rigid(angles[row], shift[row], centre)
        lens = phone(placed, **size)
        lit = _seen_by_head(light, angles[row])
        shot = portrait(subject, weights[row], lens, lit, **size)
        left, top = (wander[row] * [width, height] * (margin - 1)).astype(int)
        behind = place[top : top + height, left : left + width]
        image = wild.composite(shot.image, shot.mask, behind)
        now = dataclasses.replace(conditions, gain=conditions.gain * exposure[row])
        yield weights[row], shot, lens, now.apply(image, rng)


def phone(stage_from_head: Float[NDArray, "3 4"], *, width: int, height: int) -> Lens:
    """A phone held in front of a face.

    Args:
        stage_from_head: how the head is turned and shifted (`motion.rigid`): mm to
            the right of the picture, up and towards the phone.
        width: of the picture, px.
        height: of the picture, px; the focal length follows the shorter side.
    """
    focal = FOCAL_IN_WIDTHS * min(width, height)
    intrinsics = np.array(
        [[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]]
    )
    camera_from_stage = np.column_stack(
        [np.diag([1.0, -1.0, -1.0]), [0.0, 0.0, PHONE_DISTANCE_MM]]
    )
    return Lens(intrinsics, chain(camera_from_stage, stage_from_head))


def _truth(shot: Portrait, lens: Lens) -> tuple:
    crop = framing.crop_for_box(framing.mesh_box(shot.pixels), "mesh", TRUTH_CROP)
    vertices = shot.vertices.astype(float)
    fit = fit_calibrated_pose(*lens, np.eye(3, 4), vertices, crop, TRUTH_CROP)
    return fit.pose, crop, shot.vertices, shot.landmarks


def _seen_by_head(light: Light, angles: Float[NDArray, "3"]) -> Light:
    """A light that stands still in the stage, in the space of a turned head."""
    head_from_stage = matrix_from_euler(angles).T
    y, z, x = np.asarray(light.sky)[1:4]
    first = head_from_stage @ np.stack([x, y, z])
    sky = np.array(light.sky)
    sky[1:4] = first[[1, 2, 0]]
    directions = np.asarray(light.directions) @ head_from_stage.T
    return Light(sky, directions, light.colours)
