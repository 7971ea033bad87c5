# SPDX-License-Identifier: Apache-2.0
"""Renders many identities in varied conditions as a 300-W dataset (DESIGN section 7).

One image per identity, with random pose, light, scale, position, background and
occlusion. An image depends only on the seed and its index; its `.pts` is written last,
so an interrupted run resumes with what is missing.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from i2z_jax import console
from i2z_jax.data import ibug, images
from i2z_jax.data.multiface import write_bytes
from i2z_jax.errors import InputError
from i2z_jax.files import write_aside, write_text
from i2z_jax.geometry.crop import box_of_points
from i2z_jax.synth import wild
from i2z_jax.synth.claim import claim
from i2z_jax.synth.motion import rigid
from i2z_jax.synth.portrait import portrait
from i2z_jax.synth.shade import wild_light
from i2z_jax.synth.subject import Subject, face_centre
from i2z_jax.synth.video import phone

# Head poses of 300-W at difficulty 1, rad: pitch, yaw, roll.
ANGLES = np.radians([14.0, 32.0, 12.0])
# Where in the picture and how near, mm.
SHIFT_MM = np.array([45.0, 35.0, 110.0])
OCCLUDED = 0.2
# The hard folders of 300-W are harder than its training folders.
DIFFICULTY = {"train": 0.8, "common": 0.7, "challenging": 1.3, "private": 1.0}


# Draws a person. Subjects of equal mesh and texture size share compiled functions.
Casting = Callable[[np.random.Generator], Subject]


@dataclass(frozen=True)
class LandmarkOptions:
    """Size of a landmark set."""

    count: int
    width: int
    height: int
    seed: int = 0


def write_landmarks(
    casting: Casting,
    options: LandmarkOptions,
    out: Path,
    *,
    origin: dict[str, object],
) -> int:
    """Render the dataset; existing images are kept, and every folder gets at least one.

    Args:
        casting: draws the person of each image.
        options: number of images, spread over the folders as published.
        out: the dataset's folder.
        origin: everything else that determines the output (the heads' options); a
            folder started with different ones is refused.

    Returns:
        number of images rendered by this call.

    Raises:
        InputError: `out` holds something else, or cannot be written.
    """
    counts = folder_counts(options.count)
    claim(out, asdict(options) | origin)
    jobs = [
        (folder, number)
        for folder, count in counts.items()
        for number in range(1, count + 1)
    ]
    missing = [
        (order, folder, number)
        for order, (folder, number) in enumerate(jobs)
        if not _stem(out, folder, number).with_suffix(".pts").exists()
    ]
    if missing:
        write_text(out / ibug.UNFINISHED, "Pictures are missing: see synth.json.\n")
    for order, folder, number in console.progress(missing, "pictures"):
        seed = np.random.SeedSequence([options.seed, order])
        image, points = _picture(casting, options, folder, np.random.default_rng(seed))
        stem = _stem(out, folder, number)
        write_bytes(stem.with_suffix(".png"), images.encode(image, "png"))
        with write_aside(stem.with_suffix(".pts"), overwrite=True) as aside:
            ibug.write_pts(aside, points)
    (out / ibug.UNFINISHED).unlink(missing_ok=True)
    return len(missing)


def folder_counts(count: int) -> dict[str, int]:
    """How many of `count` pictures go to each folder: as published, at least one.

    Raises:
        InputError: fewer pictures than folders.
    """
    published = {folder: number for folder, (_, number) in ibug.FOLDERS.items()}
    if count < len(published):
        raise InputError(
            "too few pictures for the folders of 300-W",
            where="--count",
            expected=f"{len(published)} or more",
            got=count,
        )
    exact = {f: count * n / sum(published.values()) for f, n in published.items()}
    counts = {folder: max(1, int(number)) for folder, number in exact.items()}
    # Rounding down loses a few; the minimum of one per folder may add a few.
    while (rest := count - sum(counts.values())) != 0:
        change = int(np.sign(rest))
        owed = {
            folder: change * (exact[folder] - number)
            for folder, number in counts.items()
            if number + change > 0
        }
        counts[max(owed, key=lambda folder: owed[folder])] += change
    return counts


def _picture(casting, options, folder, rng):
    hard = DIFFICULTY[ibug.FOLDERS[folder][0]]
    subject, light = casting(rng), wild_light(rng)
    expressions = len(subject.head.expression_names)
    active = rng.random(expressions) < 3 / max(expressions, 3)
    weights = active * rng.beta(1.5, 1.5, expressions)
    angles = np.clip(rng.normal(size=3) * hard, -2.2, 2.2) * ANGLES
    shift = rng.uniform(-1, 1, 3) * SHIFT_MM * hard
    placed = rigid(angles, shift, face_centre(subject.head))
    size = {"width": options.width, "height": options.height}
    shot = portrait(subject, weights, phone(placed, **size), light, **size)
    behind = wild.background(rng, **size)
    image = wild.composite(shot.image, shot.mask, behind)
    if rng.random() < OCCLUDED * hard:
        image = wild.occlude(image, box_of_points(shot.landmarks), rng)
    conditions = wild.Conditions.sample(min(hard, 1.0), rng)
    return conditions.apply(image, rng), shot.landmarks


def _stem(out: Path, folder: str, number: int) -> Path:
    return out / folder / f"image_{number:04d}"
