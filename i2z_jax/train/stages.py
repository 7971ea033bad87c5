# SPDX-License-Identifier: Apache-2.0
"""Splits each stage's networks into trained, updated and frozen parts.

Each stage splits its networks once. The objective puts them together again inside the
step, so `objectives/` sees networks and `step.py` sees trees.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from i2z_jax.geometry.sampling import unit_range
from i2z_jax.models.dam import DAM
from i2z_jax.models.heatmaps import soft_argmax
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.parameters import Fitted, split_trained
from i2z_jax.objectives.dam import DAMWeights, dam_objective
from i2z_jax.objectives.landmarks import landmarks_objective
from i2z_jax.objectives.regress import RegressWeights, regress_objective
from i2z_jax.sharding import with_whole_kernels
from i2z_jax.train.lab_views import LabelledViews
from i2z_jax.train.pictures import (
    Pictures,
    face_sheet,
    landmarks_sheet,
    texture_sheet,
)
from i2z_jax.train.state import TrainState
from i2z_jax.train.step import Objective, train_step
from i2z_jax.types import Array, Float, Metrics, PyTree


class Stage(NamedTuple):
    """What to train and how.

    Attributes:
        params, stats, frozen: the trees that `TrainState.create` and `train_step` take.
        lasting: the part of `frozen`, by name, that must be the same when a run is
            resumed: the networks, not the caches computed with them.
        objective: the loss as a function of those trees.
        measure: the same of the network as it will be used, for held-out examples.
        assemble: `(params, stats) -> module`, ready to use and to save.
        error: what `measure` calls its main error: the least of it is the best.
        pictures: of what the network predicts.
    """

    params: PyTree
    stats: PyTree
    frozen: PyTree
    lasting: Mapping[str, PyTree]
    objective: Objective
    measure: Objective
    assemble: Callable[[PyTree, PyTree], nnx.Module]
    error: str = "loss"
    pictures: Pictures | None = None

    def step(
        self,
        optimizer: optax.GradientTransformation,
        mesh: Mesh,
        *,
        seed: int,
        microbatches: int = 1,
    ) -> Callable[[TrainState, PyTree, PyTree], tuple[TrainState, Metrics]]:
        """`train_step` of this objective on a device mesh, not jitted."""
        return partial(
            train_step,
            objective=with_whole_kernels(self.objective, mesh),
            optimizer=optimizer,
            seed=seed,
            microbatches=microbatches,
        )


def landmarks_stage(network: nnx.Module, *, sigma: float = 1.0) -> Stage:
    """Train a network that paints heatmaps, its batch statistics included."""
    # A network without batch normalisation has one view.
    view = partial(nnx.view, raise_if_not_found=False)
    training = view(network, use_running_average=False)
    graph, params, stats, rest = nnx.split(training, nnx.Param, nnx.BatchStat, ...)

    def objective(params, stats, frozen, batch, key):
        # A copy, because the forward pass updates the statistics in place.
        net = nnx.merge(graph, params, stats, frozen, copy=True)
        loss, metrics = landmarks_objective(net, batch, sigma=sigma)
        return loss, (metrics, nnx.state(net, nnx.BatchStat))

    def assemble(params, stats, frozen=rest):
        net = nnx.merge(graph, params, stats, frozen)
        return view(net, use_running_average=True)

    def measure(params, stats, frozen, batch, key):
        net = assemble(params, stats, frozen)
        loss, metrics = landmarks_objective(net, batch, sigma=sigma)
        return loss, (metrics, stats)

    def predict(params, stats, frozen, batch):
        image = batch["image"]
        heatmaps = assemble(params, stats, frozen)(unit_range(image))[-1]
        points = soft_argmax(jnp.float32(heatmaps), image.shape[-2]).points
        return {"landmarks": points}

    return Stage(
        params=params,
        stats=stats,
        frozen=rest,
        lasting=rest,
        objective=objective,
        measure=measure,
        assemble=assemble,
        error="nme",
        pictures=Pictures(predict, landmarks_sheet),
    )


def dam_stage(dam: DAM, *, weights: DAMWeights, texel_weight: Array) -> Stage:
    """Train the autoencoder and its colour correction; statistics stay."""
    graph, params, rest = split_trained(dam)

    def objective(params, stats, frozen, batch, key):
        dam = nnx.merge(graph, params, frozen["dam"])
        loss, metrics = dam_objective(
            dam, batch, key, weights=weights, texel_weight=frozen["texel_weight"]
        )
        return loss, (metrics, stats)

    def measure(params, stats, frozen, batch, key):
        return objective(params, stats, frozen, batch, None)  # the mean of z

    def predict(params, stats, frozen, batch):
        dam = nnx.merge(graph, params, frozen["dam"])
        average = unit_range(batch["average_texture"])
        out = dam(batch["vertices"], average, batch["view"], batch["camera"])
        return {"texture": out.texture, "vertices": out.vertices}

    frozen = {"dam": rest, "texel_weight": jnp.asarray(texel_weight)}
    return Stage(
        params=params,
        stats={},
        frozen=frozen,
        lasting=frozen,
        objective=objective,
        measure=measure,
        assemble=lambda p, _: nnx.merge(graph, p, rest),
        error="vertex_mm",
        pictures=Pictures(predict, texture_sheet),
    )


class _Regressing(NamedTuple):
    """What `train regress` reads and does not train."""

    net: PyTree
    dam: PyTree
    texel_weight: Float[Array, "t t"]
    views: LabelledViews | None


def regress_stage(
    net: I2ZNet,
    dam: DAM,
    *,
    weights: RegressWeights,
    texel_weight: Array,
    image_size: int,
    views: LabelledViews | None = None,
) -> Stage:
    """Train I2ZNet; its frozen streams and the decoder only take part.

    Args:
        net, dam: both of one person.
        weights: of the terms.
        texel_weight: of each texel; 0 where the topology has no surface.
        image_size: side of the crops, px.
        views: learn from these, `{"row": (b,)}` being a batch, instead of images;
            held-out images are measured either way.
    """
    graph, params, fitted, rest = nnx.split(net, nnx.Param, Fitted, ...)
    dam_graph, dam_state = nnx.split(dam)

    def loss_of(net, prediction, labels, frozen):
        return regress_objective(
            prediction,
            nnx.merge(dam_graph, frozen.dam),
            labels,
            weights=weights,
            pose_std=net.pose_std[...],
            texel_weight=frozen.texel_weight,
            image_size=image_size,
        )

    def on_images(params, stats, frozen, batch, key):
        net = nnx.merge(graph, params, stats, frozen.net)
        prediction = net(unit_range(batch["image"]))
        loss, metrics = loss_of(net, prediction, batch, frozen)
        return loss, (metrics, stats)

    def on_views(params, stats, frozen, batch, key):
        net = nnx.merge(graph, params, stats, frozen.net)
        rows = frozen.views.rows(batch["row"])
        prediction = net.regress(rows.maps)
        loss, metrics = loss_of(net, prediction, rows.labels, frozen)
        return loss, (metrics, stats)

    def predict(params, stats, frozen, batch):
        seen = nnx.merge(graph, params, stats, frozen.net)(unit_range(batch["image"]))
        vertices = nnx.merge(dam_graph, frozen.dam).decode_vertices(seen.z)
        return {"pose": seen.pose, "vertices": vertices}

    frozen = _Regressing(
        net=rest,
        dam=dam_state,
        texel_weight=jnp.asarray(texel_weight),
        views=views,
    )
    lasting = frozen._asdict()
    del lasting["views"]  # another to the last bit on other devices
    return Stage(
        params=params,
        stats=fitted,
        frozen=frozen,
        lasting=lasting,
        objective=on_images if views is None else on_views,
        measure=on_images,
        assemble=lambda p, stats: nnx.merge(graph, p, stats, rest),
        error="vertices",
        pictures=Pictures(predict, face_sheet),
    )
