# SPDX-License-Identifier: Apache-2.0
"""Smooth, seeded animation of expression weights and head pose."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from i2z_jax.geometry.rotation import matrix_from_euler
from i2z_jax.types import Float, NDArray

# Captures run at 30 frames/s, and Multiface numbers its frames in steps of 3.
FPS, FRAME_STEP = 30.0, 3
# Duration of a posed expression in stored frames; period of random weights in frames
# at `FPS`.
EXPRESSION_FRAMES, FREE_FRAMES = 12, 18.0
# Amplitude (rad, mm) and period (frames) of idle head motion.
HEAD_ANGLES = np.radians([4.0, 7.0, 3.0])
HEAD_SHIFT_MM = np.array([5.0, 3.0, 5.0])
HEAD_FRAMES = 25.0
# Share of the capture in each of the two segments that training holds out.
HELD_OUT = 0.1
# Share of the rest in sentences: everyday faces are mixtures, and so are most of
# Multiface's segments. Expressions one by one do not teach a decoder to add them.
SPOKEN = 0.6
# Frames of one sentence, and of one sound in it. Captures store every third frame,
# 10 a second, and a sound lasts a tenth of a second or two.
SENTENCE_FRAMES, SOUND_FRAMES = 30, 1.5


@dataclass(frozen=True)
class Segment:
    """A named run of frames: weights of the head's expressions in [0, 1]."""

    name: str
    weights: Float[NDArray, "f k"]
    head_angles: Float[NDArray, "f 3"]
    head_shift: Float[NDArray, "f 3"]


def capture_segments(
    names: tuple[str, ...], frames: int, rng: np.random.Generator
) -> list[Segment]:
    """Every expression in turn, sentences, then the two segments Multiface tests on.

    Args:
        names: of the head's expressions.
        frames: of the whole capture, at least 4.
        rng: source of all randomness.
    """
    free = max(1, round(frames * HELD_OUT))
    spoken = int((frames - 2 * free) * SPOKEN)
    posed = frames - 2 * free - spoken
    groups = min(len(names), max(1, posed // (2 * EXPRESSION_FRAMES)))
    bounds = np.linspace(0, posed, groups + 1).round().astype(int)
    segments = []
    for number, chosen in enumerate(np.array_split(np.arange(len(names)), groups)):
        length = int(bounds[number + 1] - bounds[number])
        weights = np.zeros((length, len(names)))
        # Each of the group has its share of the time, half of it with a neighbour.
        place = np.linspace(0, 1, len(chosen) + 2)[1:-1]
        time = np.linspace(0, 1, length)
        width = 1.5 / (len(chosen) + 1)
        bump = np.abs(time[:, None] - place[None]) / width
        weights[:, chosen] = np.where(bump < 1, 0.5 + 0.5 * np.cos(np.pi * bump), 0)
        name = f"E{number + 1:03d}_{names[chosen[0]]}"
        segments.append(_with_head(name, weights, rng))
    sentences = max(1, round(spoken / SENTENCE_FRAMES))
    parts = np.array_split(np.arange(spoken), sentences)
    mixed = [
        (f"SEN{n + 1:02d}", len(part), SOUND_FRAMES) for n, part in enumerate(parts)
    ]
    # As fast as in a video, of which a capture stores every third frame: slower, and a
    # short segment is one or two moments, which say little of a decoder.
    play = FREE_FRAMES / FRAME_STEP
    held_out = [(name, free, play) for name in ("EXP_ROM07", "EXP_free_face")]
    for name, length, period in mixed + held_out:
        weights = free_weights(length, len(names), rng, period=period)
        segments.append(_with_head(name, weights, rng))
    return segments


def free_weights(
    frames: int,
    expressions: int,
    rng: np.random.Generator,
    *,
    period: float = FREE_FRAMES,
) -> Float[NDArray, "f k"]:
    """Random weights, period about `period` frames; some are nonzero at any time."""
    drift = smooth_noise(frames, expressions, period, rng)
    return np.clip(drift * 0.9 - 0.55, 0.0, 1.0)


def smooth_noise(
    frames: int, channels: int, period: float, rng: np.random.Generator
) -> Float[NDArray, "f c"]:
    """Cubic splines through normal noise, one knot per `period` frames.

    About unit variance.
    """
    knots = int(np.ceil(frames / period)) + 3
    curve = CubicSpline(np.arange(knots), rng.normal(size=(knots, channels)))
    return curve(np.arange(frames) / period + rng.uniform())


def rigid(
    angles: Float[NDArray, "3"],
    shift: Float[NDArray, "3"],
    centre: Float[NDArray, "3"],
) -> Float[NDArray, "3 4"]:
    """Rigid transform that rotates about `centre` and moves it to `shift`.

    Args:
        angles: Euler angles, rad.
        shift: mm.
        centre: head space, mm.

    Returns:
        [R | t].
    """
    rotation = matrix_from_euler(angles)
    return np.column_stack([rotation, shift - rotation @ centre])


def chain(
    outer: Float[NDArray, "3 4"], inner: Float[NDArray, "3 4"]
) -> Float[NDArray, "3 4"]:
    """The transform that applies `inner`, then `outer`."""
    linear = outer[:, :3] @ inner[:, :3]
    return np.column_stack([linear, outer[:, :3] @ inner[:, 3] + outer[:, 3]])


def _with_head(
    name: str, weights: Float[NDArray, "f k"], rng: np.random.Generator
) -> Segment:
    motion = smooth_noise(len(weights), 6, HEAD_FRAMES, rng)
    return Segment(
        name, weights, motion[:, :3] * HEAD_ANGLES, motion[:, 3:] * HEAD_SHIFT_MM
    )
