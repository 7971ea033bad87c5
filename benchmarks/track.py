# SPDX-License-Identifier: Apache-2.0
"""`i2z track` of a clip, end to end and by stage; and a frame alone.

The clip is the synthetic head's picture, which wanders over 720p; the tracker has
random weights, so that no frame is lost and each is drawn. A stage's seconds are the
run's own (`i2z_jax/stopwatch.py`), compiling apart.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.device import Rates
from benchmarks.measure import Row, of_many, once, row
from benchmarks.networks import random_system
from benchmarks.suite import Options
from i2z_jax.commands.track import Config
from i2z_jax.data.face_detector import opencv_detector
from i2z_jax.data.video_writer import write_video
from i2z_jax.report.track_outputs import OutputOptions, write_outputs
from i2z_jax.stopwatch import COMPILE, Stopwatch
from i2z_jax.system import System
from i2z_jax.track import run as tracking
from i2z_jax.track.networks import Networks

PICTURE = Path(__file__).parent.parent / "docs/pictures/synthetic_head.jpg"
# Of the large face in it: left, top, right, bottom.
FACE = (0, 40, 660, 840)
WIDTH, HEIGHT = 1280, 720


def measure(options: Options, rates: Rates) -> Iterator[Row]:
    """All stages of a run, in batches as `i2z track` has them; then batch 1."""
    system = random_system(options.sizes, options.dtype)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, options.frames)
        batch = options.batch[0] if options.batch else Config.batch_size
        seconds, clock = _whole(system, clip, Path(folder), batch)
    case = f"{options.frames} frames 720p, {options.case(batch)}"
    total = {"whole": seconds - clock.seconds[COMPILE], **clock.seconds}
    for name, spent in total.items():
        # Each stage's own count of frames, which it may see more than once.
        frames = clock.frames.get(name, 0) or options.frames
        yield row("track", case, name, frames, rates=rates, **once(spent))
    yield from _alone(system, options, rates)


def _whole(system: System, clip: Path, folder: Path, batch: int):
    clock = Stopwatch()
    start = time.perf_counter()
    networks = Networks(system, batch, clock)
    work = folder / "work"
    work.mkdir()
    # Random landmarks are looked at and not believed: the face stays in its crop.
    options = tracking.Options(min_confidence=2.0)
    tracking.run(networks, clip, work, options, opencv_detector)
    believed = replace(options, min_confidence=-np.inf)
    track = tracking.collect(clip, work, believed, networks.size)
    assert track is not None
    with clock.stage("outputs"):
        write_outputs(networks, track, clip, folder, OutputOptions())
    return time.perf_counter() - start, clock


def _alone(system: System, options: Options, rates: Rates) -> Iterator[Row]:
    """A crop through network and decoder, as a live camera would have it."""
    networks = Networks(system, 1, Stopwatch())
    crop = np.zeros((1, networks.size, networks.size, 3), np.uint8)
    seconds = []
    for _ in range(options.rounds + 2):
        start, cpu = time.perf_counter(), time.process_time()
        networks.vertices(networks.predict(crop).z)
        seconds.append((time.perf_counter() - start, time.process_time() - cpu))
    yield row(
        "track", options.case(1), "network and decoder", 1, rates=rates,
        first_s=seconds[0][0], **of_many(seconds[2:]),
    )  # fmt: skip


def write_clip(path: Path, frames: int) -> None:
    """The head's picture on a slow orbit, 30 frames a second."""
    left, top, right, bottom = FACE
    picture = cv2.imread(str(PICTURE))
    assert picture is not None, PICTURE
    face = cv2.resize(picture[top:bottom, left:right, ::-1], (330, 400))

    def pictures():
        for k in range(frames):
            image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            x = int(470 + 150 * np.cos(k / 40))
            y = int(160 + 80 * np.sin(k / 25))
            image[y : y + 400, x : x + 330] = face
            yield k / 30, image

    write_video(path, pictures())
