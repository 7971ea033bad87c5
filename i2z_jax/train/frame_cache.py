# SPDX-License-Identifier: Apache-2.0
"""Cache of frames and their stream maps, kept on the devices.

The streams are frozen (DESIGN 3.4), and in adaptation every step draws from the same
few hundred frames: the maps of a frame are computed once. A step then takes indices,
and neither decodes pictures nor runs the streams, which are 100 of the 120 GFLOP of a
`paper` step (DESIGN 12). Every device holds the whole cache, so that it gathers its
rows without asking the others; a `paper` frame takes 4 MB in bfloat16 and 8 MB in
float32, a `tiny` one 0.4 MB and 0.8 MB.
"""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from i2z_jax import console
from i2z_jax.chunks import chunks
from i2z_jax.data.batches import Source
from i2z_jax.data.warp import resized
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.models.features import StreamMaps
from i2z_jax.models.heatmaps import Landmarks, soft_argmax
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.sharding import (
    batch_sharding,
    local_rows,
    replicate,
    replicated,
    to_global,
)
from i2z_jax.types import Array, Int, NDArray, UInt8


class FrameCache(NamedTuple):
    """A row a frame."""

    image: UInt8[Array, "f h w 3"]
    maps: StreamMaps
    # By the frozen hourglass, from maps that were not rounded yet; None without one.
    detected: Landmarks | None

    def rows(self, index: Int[Array, "b"]) -> "FrameCache":
        """Some of the frames; inside a step."""
        return jax.tree.map(lambda x: x[index], self)

    @property
    def size_bytes(self) -> int:
        """What it takes on each device."""
        return sum(x.nbytes for x in jax.tree.leaves(self))


def build_cache(
    net: I2ZNet,
    images: UInt8[NDArray, "f h w 3"],
    *,
    dtype: DTypeLike,
    mesh: Mesh,
    batch_size: int = 16,
) -> FrameCache:
    """Run the streams over all images.

    Args:
        net: with at least one frozen stream.
        images: of the size the network reads.
        dtype: of the maps kept; the type the network computes in loses nothing.
        mesh: every device of it gets the whole cache.
    """
    # Without the regressor, which may be divided over devices of other processes.
    graph, state = nnx.split(net.pretrained())
    look = _streams(graph, images.shape[-2], jnp.dtype(dtype), mesh)
    # Divided over the devices, and of one shape.
    batch_size = -(-batch_size // mesh.size) * mesh.size
    state = replicate(state, mesh)
    batch = jax.ShapeDtypeStruct((batch_size, *images.shape[1:]), images.dtype)
    one = jax.eval_shape(look, state, batch)
    rows = max(len(images), batch_size)
    kept = jax.jit(
        lambda: jax.tree.map(lambda x: jnp.zeros((rows, *x.shape[1:]), x.dtype), one),
        out_shardings=replicated(mesh),
    )()
    parts = chunks(len(images), batch_size)
    for index, _ in console.progress(parts, "frozen streams"):
        ours = to_global(images[index[local_rows(mesh, batch_size)]], mesh)
        kept = _keep(kept, look(state, ours), np.int32(index[0]))
    if rows > len(images):
        kept = jax.tree.map(lambda x: x[: len(images)], kept)
    return FrameCache(replicate(images, mesh), *kept)


@cache
def _streams(graph: nnx.GraphDef, size: int, dtype: jnp.dtype, mesh: Mesh):
    """One program for all caches of the same streams."""

    def look(state, image):
        maps = nnx.merge(graph, state)(unit_range(image))
        seen = maps.heatmaps
        detected = None if seen is None else soft_argmax(seen, size)
        return jax.tree.map(lambda x: x.astype(dtype), maps), detected

    return jax.jit(
        look,
        in_shardings=(replicated(mesh), batch_sharding(mesh)),
        out_shardings=replicated(mesh),
    )


# In place: a second copy of a cache that fills the memory would not fit.
@partial(jax.jit, donate_argnums=0)
def _keep(kept, found, start):
    return jax.tree.map(
        lambda rows, new: jax.lax.dynamic_update_slice_in_dim(rows, new, start, axis=0),
        kept,
        found,
    )


def pictures(
    source: Source, index: Int[NDArray, "f"], size: int, what: str
) -> UInt8[NDArray, "f s s 3"]:
    """Decoded images of some examples, resized to the side the network reads."""
    found = []
    for row in console.progress(index, what):
        found.append(resized(source[int(row)]["image"], size))
    return np.stack(found)
