# SPDX-License-Identifier: Apache-2.0
"""An adaptation step on cached features, and the same with the streams in it.

What a clip takes is worked out from the two steps that were measured and from the
streams' own time: of `frames` frames, each in the cache once and in every epoch once
as the first of a pair, with as many lab views.
"""

from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.device import Rates
from benchmarks.measure import Row, program, race, row, training
from benchmarks.networks import random_batch, random_system
from benchmarks.suite import Options
from i2z_jax.data.landmarks68 import COUNT
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.objectives.adapt import AdaptWeights, ZPrior
from i2z_jax.sharding import create_mesh
from i2z_jax.system import System
from i2z_jax.train.adapt_data import AdaptationData, VideoData, face_mesh
from i2z_jax.train.adapt_stage import adapt_stage
from i2z_jax.train.frame_cache import build_cache
from i2z_jax.train.lab_views import LabelledViews
from i2z_jax.train.landmark_bias import LandmarkBias
from i2z_jax.train.optim import OptimizerConfig, build_optimizer
from i2z_jax.train.run import create_state

EPOCHS = 10
CACHED, UNCACHED = "features cached", "streams in the step"


def measure(options: Options, rates: Rates) -> Iterator[Row]:
    """Both steps, the streams alone, and the clip."""
    dtype = jnp.dtype(options.dtype)
    system = random_system(options.sizes, dtype)
    mesh = create_mesh(devices=jax.devices()[:1])
    for pairs in options.batches("adapt"):
        data = _data(system, options, 2 * pairs, dtype, mesh)
        stage, _ = adapt_stage(system, data, weights=AdaptWeights(), mesh=mesh)
        optimizer = build_optimizer(OptimizerConfig(), 10_000)
        rows = np.arange(pairs, dtype=np.int32)
        batch = jax.device_put({"pairs": {"row": 2 * rows}, "replay": {"row": rows}})
        images = data.video.frames.image
        graph, weights = nnx.split(system.net)

        def look(weights, images, graph=graph):
            maps = nnx.merge(graph, weights).streams(unit_range(images))
            return jax.tree.map(lambda x: x.astype(dtype), maps)

        def uncached(params, stats, frozen, batch, key, stage=stage, look=look):
            cached, weights, images = frozen
            # In the place of the cached rows, which nothing reads then.
            maps = look(weights, images)
            n = len(images) * 2 // 3
            of_pairs, of_views = (
                jax.tree.map(lambda x, part=part: x[part], maps)
                for part in (slice(n), slice(n, None))
            )
            frames = cached.given.frames._replace(maps=of_pairs)
            now = cached._replace(
                given=cached.given._replace(frames=frames),
                replay=cached.replay._replace(maps=of_views),
            )
            return stage.objective(params, stats, now, batch, key)

        # Two frames and a lab view for each pair.
        seen = jnp.concatenate([images, images[:pairs]])
        contenders = {
            name: training(
                objective,
                create_state(stage, optimizer, mesh),
                frozen,
                batch,
                optimizer,
            )
            for name, objective, frozen in (
                (CACHED, stage.objective, stage.frozen),
                (UNCACHED, uncached, (stage.frozen, weights, seen)),
            )
        }
        case = options.case(pairs)
        found = [*race("adapt", f"pairs {case}", contenders, options, rates, pairs)]
        yield from found
        streams = {"streams": program(look, weights, images)}
        frames = 2 * pairs
        (alone,) = race("adapt", f"frames {case}", streams, options, rates, frames)
        yield alone
        yield from _clip(found, alone, options, pairs, rates)


def _clip(found, alone, options: Options, pairs: int, rates: Rates) -> list[Row]:
    """The whole clip by both ways, medians added up; the ratio is to the second."""
    steps = EPOCHS * options.frames / pairs
    # Before the first step: the frames, and as many lab views.
    before = {CACHED: 2 * options.frames / (2 * pairs), UNCACHED: 0.0}
    rows = [
        row(
            "adapt",
            f"{options.frames} frames, {EPOCHS} epochs, {options.case(pairs)}",
            each.name,
            EPOCHS * options.frames,
            rates=rates,
            first_s=None,
            **{
                name: steps * getattr(each, name)
                + before[each.name] * getattr(alone, name)
                for name in ("median_s", "low_s", "high_s", "cpu_s")
            },
        )
        for each in found
    ]
    return [replace(each, ratio=each.busy_s / rows[-1].busy_s) for each in rows]


def _data(system: System, options: Options, frames: int, dtype, mesh) -> AdaptationData:
    host = random_batch(options.sizes, frames)
    cache = build_cache(
        system.net, host["image"], dtype=dtype, mesh=mesh, batch_size=frames
    )
    n = system.dam_card.config.vertices
    vertices = np.tile(system.dam.statistics.vert_mean[...][None], (frames, 1, 1))
    views = LabelledViews(
        cache.maps, *map(jnp.asarray, (host["pose"], vertices, host["z"]))
    )
    assert system.topology.vertex_count == n
    size = min(system.dam_card.config.texture_size, system.image_size)
    unbiased = LandmarkBias.none(COUNT)
    face = face_mesh(system.topology, unbiased, texture_size=size, mesh=mesh)
    z = system.net_card.config.z_size
    rows = np.arange(frames - 1, dtype=np.int32)
    prior = ZPrior(jnp.zeros(z), jnp.ones(z))
    return AdaptationData(
        VideoData(cache, rows, rows, None), views, None, prior, face, 1 / 550
    )
