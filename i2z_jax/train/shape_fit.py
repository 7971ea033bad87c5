# SPDX-License-Identifier: Apache-2.0
"""The shape branch of a fresh I2ZNet is fitted to some training views [ours]."""

from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from i2z_jax.data.batches import Source
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.shape_encoder import fit_shape
from i2z_jax.sharding import of_first_process, replicate
from i2z_jax.train.lab_views import LabelledViews, keep_views

# Views that are fitted, at most.
FITTED_VIEWS = 1024


def fit_shape_branch(
    net: I2ZNet,
    train: Source,
    kept: LabelledViews | None,
    *,
    size: int,
    dtype: DTypeLike,
    seed: int,
    mesh: Mesh,
) -> None:
    """Set the shape branch, in place; a network without one stays as it is.

    Args:
        net: its streams attached, `pose_mean` and `pose_std` set.
        train: views to draw from, where none are kept.
        kept: views that went through the streams already.
        size: side of the crops that are drawn, px.
        dtype: of their maps.
        seed: of the choice among them, and of the fit's random units.
    """
    if net.shape is None:
        return
    if kept is None:
        count = min(FITTED_VIEWS, len(train))
        kept = keep_views(net, train, count, size=size, seed=1, dtype=dtype, mesh=mesh)
    assert kept.maps.heatmaps is not None  # as `net.shape` is not
    # Any of them: they lie in the order of the capture.
    order = np.random.default_rng(seed).permutation(len(kept.pose))
    rows = np.sort(order[:FITTED_VIEWS])
    seen, z, pose = (
        np.asarray(x)[rows].astype(np.float32)
        for x in (kept.maps.heatmaps, kept.z, kept.pose)
    )
    mean, std = (np.asarray(x[...]) for x in (net.pose_mean, net.pose_std))
    target = np.concatenate([z, (pose - mean) / std], -1).astype(np.float32)
    fit = jax.jit(partial(fit_shape, seed=seed))(seen, target)
    net.load_fit(replicate(of_first_process(fit), mesh))
