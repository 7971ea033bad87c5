# SPDX-License-Identifier: Apache-2.0
"""Labelled lab views and their stream maps, drawn once and kept on the devices.

`train regress --cache N` learns from N augmented views, each through the frozen
streams once, instead of a new augmentation of every view in every step: the streams
are 100 of the 120 GFLOP of a `paper` step (DESIGN 12). Adaptation replays such views
and watches others.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from i2z_jax import console
from i2z_jax.data.augment import augment_regression
from i2z_jax.data.batches import Example, Source
from i2z_jax.models.features import StreamMaps
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.sharding import replicate
from i2z_jax.train.frame_cache import FrameCache, build_cache
from i2z_jax.train.memory import shortage_is_bad_input
from i2z_jax.types import Array, Float, Int, NDArray


class LabelledViews(NamedTuple):
    """A row a view."""

    maps: StreamMaps
    pose: Float[Array, "r 6"]
    vertices: Float[Array, "r n 3"]
    z: Float[Array, "r z"]

    @property
    def labels(self) -> dict[str, Array]:
        """What `regress_objective` takes of a batch."""
        return {"z": self.z, "pose": self.pose, "vertices": self.vertices}

    def rows(self, index: Int[Array, "b"]) -> "LabelledViews":
        """Some of them; inside a step."""
        return jax.tree.map(lambda x: x[index], self)


def draw_views(views: Source, count: int, *, size: int, seed: int) -> list[Example]:
    """`count` augmented views; every view once before any comes twice.

    Args:
        views: with `image`, `pose`, `vertices` and `z`.
        count: may exceed the number of views.
        size: side of the training crop, px.
        seed: of the choice and of every augmentation.
    """
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(len(views)) for _ in range(-(-count // len(views)))]
    chosen = np.concatenate(rounds)[:count]
    # In the order on disk, so that a frame's mesh is looked up once.
    order = np.argsort(chosen, kind="stable")
    return [
        augment_regression(
            views[int(chosen[k])], np.random.default_rng([seed, int(k)]), size=size
        )
        for k in console.progress(order, "lab views")
    ]


def label_views(
    net: I2ZNet, examples: list[Example], *, dtype: DTypeLike, mesh: Mesh
) -> tuple[LabelledViews, FrameCache]:
    """Run the streams over examples and keep their labels beside the maps.

    Args:
        net: with at least one frozen stream.
        examples: `image` uint8 `h w 3`, `pose`, `vertices`, `z`.
        dtype: of the maps kept.
        mesh: every device of it gets all of them.
    """
    images = np.stack([example["image"] for example in examples])
    cache = build_cache(net, images, dtype=dtype, mesh=mesh)
    labels = [
        np.stack([example[name] for example in examples])
        for name in ("pose", "vertices", "z")
    ]
    return LabelledViews(cache.maps, *replicate(labels, mesh)), cache


@shortage_is_bad_input("a smaller --cache, or --cache-dtype bfloat16")
def keep_views(
    net: I2ZNet,
    views: Source,
    count: int,
    *,
    size: int,
    seed: int,
    dtype: DTypeLike,
    mesh: Mesh,
) -> LabelledViews:
    """`label_views` of `draw_views`; the pictures themselves are let go.

    Raises:
        InputError: a device is out of memory.
    """
    drawn = draw_views(views, count, size=size, seed=seed)
    return label_views(net, drawn, dtype=dtype, mesh=mesh)[0]


class RowNumbers:
    """Indices as examples: what they point at is on the devices already."""

    def __init__(self, index: Int[NDArray, "k"]):
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Example:
        return {"row": self._index[index]}
