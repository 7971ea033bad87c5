# SPDX-License-Identifier: Apache-2.0
"""Temporal measures: jitter and texture consistency."""

from typing import NamedTuple

import numpy as np

from i2z_jax.data.pipeline import VideoFrames
from i2z_jax.errors import InputError
from i2z_jax.evaluate.metrics import CROP, colour_difference, second_difference
from i2z_jax.geometry.crop import apply_affine, image_from_unit
from i2z_jax.types import Bool, Float, NDArray

# What `Watch` measures: of some frames only.
TEMPORAL = ("jitter_px", "jitter_mm", "cftc_residual")


class FrameFacts(NamedTuple):
    """What is known of every frame before a network sees it."""

    time_s: Float[NDArray, "e"]
    starts: Bool[NDArray, "e"]  # does not continue the frame before
    repeats: Bool[NDArray, "e"]
    crop_from_image: Float[NDArray, "e 2 3"]
    crop_size: int  # px, as stored
    truth: bool
    landmarks: bool  # the truth has them
    z_size: int  # of the truth's z; 0 if it has none, or of different sizes


def frame_facts(video: VideoFrames) -> FrameFacts:
    """The text and flags of a video's frames.

    Raises:
        InputError: some frames have ground truth and some have none.
    """
    known = video.columns(
        "has_truth", "time_s", "cut", "duplicate", "crop_from_image", "landmarks"
    )
    truth = known["has_truth"].astype(bool)
    if truth.any() and not truth.all():
        raise InputError(
            "ground truth for some frames only",
            where="monocular_video",
            got=f"{truth.sum()} of {len(truth)}",
            fix="build the videos with and without truth apart",
        )
    return FrameFacts(
        known["time_s"].astype(float),
        known["cut"].astype(bool),
        known["duplicate"].astype(bool),
        known["crop_from_image"].astype(np.float64),
        len(video[0]["image"]),
        bool(truth.all()),
        bool(known["landmarks"].any()),
        _state_size(video) if truth.all() else 0,
    )


def _state_size(video: VideoFrames) -> int:
    sizes = {len(video.record(index)["z"]) for index in range(len(video))}
    return sizes.pop() if len(sizes) == 1 else 0


class Watch:
    """Accumulates frames in order and computes temporal measures.

    A frame that repeats the one before says nothing new and is passed over; a cut
    starts anew. Jitter is measured in the video's frames, because crops move: px of
    256 are those of a crop of the video's median size.
    """

    def __init__(self, facts: FrameFacts):
        self._facts = facts
        self._index = 0
        # Up to two frames before: vertices, points in the image, texture, visibility.
        self._past: list[tuple] = []
        self._image_from_unit = image_from_unit(facts.crop_from_image, facts.crop_size)
        self._side = float(np.median(2 * np.hypot(*self._image_from_unit[:, :, 0].T)))

    def see(
        self,
        vertices: Float[NDArray, "b n 3"],
        flat: Float[NDArray, "b n 2"],
        texture: Float[NDArray, "b t t 3"],
        seen: Float[NDArray, "b t t"],
    ) -> dict[str, Float[NDArray, "b"]]:
        """The `TEMPORAL` figures of the next frames, NaN where there is none."""
        rows = []
        for row in range(len(vertices)):
            index = self._index + row
            in_image = apply_affine(self._image_from_unit[index], flat[row])
            rows.append(
                self._step(index, vertices[row], in_image, texture[row], seen[row])
            )
        self._index += len(vertices)
        return dict(zip(TEMPORAL, np.array(rows, np.float64).T, strict=True))

    def _step(self, index, vertices, points, texture, seen) -> tuple:
        if self._facts.starts[index]:
            self._past = []
        elif self._facts.repeats[index]:
            return np.nan, np.nan, np.nan
        pixels = millimetres = consistency = np.nan
        if len(self._past) == 2:
            (mesh0, flat0, *_), (mesh1, flat1, *_) = self._past
            shake = second_difference(flat0, flat1, points).mean()
            pixels = shake * (CROP / self._side)
            millimetres = second_difference(mesh0, mesh1, vertices).mean()
        if self._past:
            *_, last_texture, last_seen = self._past[-1]
            both = seen * last_seen
            consistency = colour_difference(texture, last_texture, both)
        self._past = [*self._past[-1:], (vertices, points, texture, seen)]
        return pixels, millimetres, float(consistency)
