# SPDX-License-Identifier: Apache-2.0
"""Input pipeline: batches into JAX against bare decoding of the same bytes.

Bare decoding runs in as many processes as the pipeline has workers, over encoded crops
that are in memory already, and throws the pictures away: what no pipeline can beat.
"""

import contextlib
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import numpy as np

from benchmarks.device import Rates
from benchmarks.measure import Row, once, row
from benchmarks.suite import Options
from i2z_jax.data import images, records
from i2z_jax.data.augment import augment_regression, resized_view
from i2z_jax.data.batches import Batches, Stream, endless
from i2z_jax.data.finish import finish
from i2z_jax.data.pipeline import Views
from i2z_jax.data.shards import Job, write_shards
from i2z_jax.data.tfds_builder import adopt
from i2z_jax.sharding import create_mesh, to_global

CROP, TEXTURE, VERTICES, CAMERAS = 256, 1024, 7306, 4
BATCH, BATCHES, FRAMES = 32, 12, 24
# What a GPU is to be fed with (DESIGN 12: one H200 is done with 6,600 at most).
TARGET = 4000


class Rate(NamedTuple):
    """Examples per second of all workers, and per second of CPU time of one."""

    elapsed: float
    per_core: float


def measure(options: Options, rates: Rates) -> Iterator[Row]:
    """A row for bare decoding and one for each kind of batch; cores to feed a GPU."""
    found = _rates(options.workers)
    bare = found["bare decoding of crops"]
    for name, rate in found.items():
        each = row(
            "pipeline", f"{options.workers} workers",
            f"{name}; {TARGET / rate.per_core:.1f} cores for {TARGET}/s",
            BATCH, rates=rates, **once(BATCH / rate.elapsed, BATCH / rate.per_core),
        )  # fmt: skip
        yield replace(each, ratio=bare.per_core / rate.per_core)


def _rates(workers: int) -> dict[str, Rate]:
    """Build a dataset of textured noise at full size and race over it."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        _build(directory)
        augment = partial(augment_regression, size=CROP)
        crops = Views(directory, "train", fields=("image",))
        meshes = Views(directory, "train")
        # A capture has more frames than a cache: none is kept from one batch on.
        average, both = (
            Views(directory, "train", fields=fields, cached_frames=1)
            for fields in (
                ("average_texture", "vertices"),
                ("texture", "average_texture", "vertices"),
            )
        )
        encoded = [crops.record(i)["image"] for i in range(len(crops))]
        streams = {
            "crops, resized only": Stream(
                crops, BATCH, partial(resized_view, size=CROP)
            ),
            "crops, augmented": Stream(crops, BATCH, augment),
            "crops and meshes, augmented": Stream(meshes, BATCH, augment),
            "average texture and mesh": Stream(average, BATCH),
            "both textures and mesh": Stream(both, BATCH),
        }
        return {
            "bare decoding of crops": _bare(encoded, workers),
            **{name: _pipeline(stream, workers) for name, stream in streams.items()},
        }


def _bare(encoded: list[bytes], workers: int) -> Rate:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        share = [encoded[k::workers] for k in range(workers)]
        list(pool.map(_decode, share))  # started and warm
        start = time.perf_counter()
        list(pool.map(_decode, share))
        elapsed = time.perf_counter() - start
        seconds = min(sum(pool.map(_decode, share)) for _ in range(5))
    return Rate(len(encoded) / elapsed, len(encoded) / seconds)


def _decode(encoded: list[bytes]) -> float:
    cv2.setNumThreads(1)
    start = time.process_time()
    for data in encoded:
        images.decode(data)
    return time.process_time() - start


def _pipeline(stream: Stream, workers: int) -> Rate:
    mesh = create_mesh(devices=jax.devices()[:1])
    count = BATCHES if "image" in stream.source[0] else 3
    with endless(stream, seed=0, workers=workers) as batches:
        jax.block_until_ready(to_global(next(batches), mesh))
        _drain(batches, workers)
        start = time.perf_counter()
        for _ in range(count):
            jax.block_until_ready(to_global(next(batches), mesh))
        elapsed = time.perf_counter() - start
    with _one_thread():
        seconds = min(_work_of_one_batch(stream) for _ in range(5))
    return Rate(count * BATCH / elapsed, BATCH / seconds)


def _work_of_one_batch(stream: Stream) -> float:
    """CPU seconds: unlike elapsed ones they mean something on a busy machine."""
    rng = np.random.default_rng(0)
    augment: Callable = stream.augment or (lambda example, rng: example)
    start = time.process_time()
    for index in range(BATCH):
        augment(stream.source[index * CAMERAS % len(stream.source)], rng)
    return time.process_time() - start


def _drain(batches: Batches, workers: int) -> None:
    """Take what was ready before the clock started."""
    for _ in range(4 * workers):
        next(batches)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def _build(directory: Path) -> None:
    """Smooth noise: JPEG sizes near those of faces (30 kB a crop, 250 kB a texture)."""
    rng = np.random.default_rng(0)
    frames = [
        {
            "vertices": rng.normal(0, 50, (VERTICES, 3)).astype(np.float32),
            **images.encode_texture(_noise(rng, TEXTURE, 2.0), "jpeg"),
            "world_from_head": np.eye(3, 4, dtype=np.float32),
            "source": 0,
            "segment": "S",
            "frame": frame,
        }
        for frame in range(FRAMES)
    ]
    views = [
        {
            "image": images.encode(_noise(rng, CROP, 1.2), "jpeg"),
            "pose": np.float32([0.008, 0.1, 0.2, 0.3, 0.0, 0.1]),
            "pose_residual_px": 0.5,
            "view": np.float32([0, 0, 1]),
            "camera": camera,
            "source": 0,
            "segment": "S",
            "frame": frame,
            "frame_index": frame,
            "crop_from_image": np.eye(2, 3, dtype=np.float32),
            **{name: frames[frame][name] for name in ("texture", "seen")},
        }
        for frame in range(FRAMES)
        for camera in range(CAMERAS)
    ]
    counts, written = {}, []
    for kind, examples in (("frame", frames), ("view", views)):
        configs = f"{kind}s", f"{kind}_textures"
        shards = write_shards(
            [Job("train", tuple(range(len(examples))))],
            lambda item, examples=examples: [examples[item]],
            {name: records.features(f"{records.MULTIVIEW}/{name}") for name in configs},
            directory / "work",
            workers=1,
            strict=True,
            what=configs[0],
        )
        for config in configs:
            counts[config] = adopt(
                records.MULTIVIEW, shards, directory, splits=["train"], config=config
            )
        written += shards
    finish(directory, records.MULTIVIEW, [directory], [], counts, written, [])


def _noise(rng: np.random.Generator, side: int, sigma: float) -> np.ndarray:
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return cv2.GaussianBlur(image, (0, 0), sigma)
