# SPDX-License-Identifier: Apache-2.0
"""Every stage's training step, of shapes in place of arrays: to lower, not to run.

`launch.export_check` and `python -m benchmarks scale` lower it for devices that are not
here, without data and without the memory of the networks.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from i2z_jax import checkpoint
from i2z_jax.checkpoint import ModelCard
from i2z_jax.geometry.mesh_arrays import MeshArrays
from i2z_jax.geometry.topology import TexelMap
from i2z_jax.models.heatmaps import Landmarks
from i2z_jax.objectives.adapt import AdaptWeights, ZPrior
from i2z_jax.objectives.dam import DAMWeights
from i2z_jax.objectives.face_mesh import FaceMesh
from i2z_jax.objectives.regress import RegressWeights
from i2z_jax.presets import Preset
from i2z_jax.sharding import (
    batch_sharding,
    parameter_shardings,
    replicated,
)
from i2z_jax.system import System
from i2z_jax.train.adapt_data import AdaptationData, VideoData
from i2z_jax.train.adapt_stage import adapt_stage
from i2z_jax.train.frame_cache import FrameCache
from i2z_jax.train.lab_views import LabelledViews
from i2z_jax.train.optim import OptimizerConfig, build_optimizer
from i2z_jax.train.stages import Stage, dam_stage, landmarks_stage, regress_stage
from i2z_jax.train.state import TrainState
from i2z_jax.types import PyTree

# Frames and lab views that `adapt` keeps on the devices: a clip of 20 s.
FRAMES = 600


class AbstractStep(NamedTuple):
    """A step to lower: `step.jitted.lower(*step.arguments)`."""

    jitted: Any
    # State, frozen and batch as shapes with shardings.
    arguments: tuple[PyTree, PyTree, PyTree]
    trained: int
    frozen: int


def shape(*sizes: int, dtype: DTypeLike = jnp.float32) -> Any:
    """An array without numbers."""
    return jax.ShapeDtypeStruct(sizes, dtype)


def landmarks(sizes: Preset, batch: int, dtype: DTypeLike, _: Mesh):
    """The hourglass on pictures."""
    size = sizes.i2z.image_size
    net = checkpoint.build("hourglass", sizes.i2z.hourglass, dtype=dtype)
    return landmarks_stage(net), {
        "image": shape(batch, size, size, 3, dtype=jnp.uint8),
        "landmarks": shape(batch, 68, 2),
    }


def dam(sizes: Preset, batch: int, dtype: DTypeLike, _: Mesh):
    """The autoencoder on meshes and textures."""
    model: Any = checkpoint.build("dam", sizes.dam, dtype=dtype)
    t = sizes.dam.texture_size
    stage = dam_stage(model, weights=DAMWeights(), texel_weight=jnp.ones((t, t)))
    return stage, {
        "vertices": shape(batch, sizes.dam.vertices, 3),
        "average_texture": shape(batch, t, t, 3, dtype=jnp.uint8),
        "texture": shape(batch, t, t, 3, dtype=jnp.uint8),
        "view": shape(batch, 3),
        "camera": shape(batch, dtype=jnp.int32),
    }


def regress(sizes: Preset, batch: int, dtype: DTypeLike, _: Mesh):
    """I2ZNet on lab pictures, through the decoder."""
    net: Any = checkpoint.build("i2znet", sizes.i2z, dtype=dtype)
    model: Any = checkpoint.build("dam", sizes.dam, dtype=dtype)
    size, t = sizes.i2z.image_size, sizes.dam.texture_size
    stage = regress_stage(
        net,
        model,
        weights=RegressWeights(),
        texel_weight=jnp.ones((t, t)),
        image_size=size,
    )
    return stage, {
        "image": shape(batch, size, size, 3, dtype=jnp.uint8),
        "z": shape(batch, sizes.i2z.z_size),
        "pose": shape(batch, 6),
        "vertices": shape(batch, sizes.dam.vertices, 3),
    }


def adapt(sizes: Preset, batch: int, dtype: DTypeLike, mesh: Mesh):
    """I2ZNet on cached frames of a video, and lab views."""
    net: Any = checkpoint.build("i2znet", sizes.i2z, dtype=dtype)
    model: Any = checkpoint.build("dam", sizes.dam, dtype=dtype)
    system = System(
        net,
        model,
        None,  # pyrefly: ignore
        ModelCard("i2znet", sizes.i2z, licence=""),
        ModelCard("dam", sizes.dam, licence=""),
    )
    size, n = sizes.i2z.image_size, sizes.dam.vertices
    t = min(sizes.dam.texture_size, size)
    image = shape(FRAMES, size, size, 3, dtype=jnp.uint8)
    graph, weights = nnx.split(net)
    maps = jax.eval_shape(
        lambda weights, image: nnx.merge(graph, weights).streams(image),
        weights,
        shape(FRAMES, size, size, 3),
    )
    maps = jax.tree.map(lambda x: shape(*x.shape, dtype=dtype), maps)
    seen = FrameCache(image, maps, Landmarks(shape(FRAMES, 68, 2), shape(FRAMES, 68)))
    views = LabelledViews(
        maps, shape(FRAMES, 6), shape(FRAMES, n, 3), shape(FRAMES, sizes.i2z.z_size)
    )
    integers = partial(shape, dtype=jnp.int32)
    triangles = 2 * n  # of a closed mesh
    arrays = MeshArrays(
        faces=integers(triangles, 3),
        uvs=shape(n, 2),
        uv_faces=integers(triangles, 3),
        texel_map=TexelMap(integers(t, t), shape(t, t, 3)),
        landmark_corners=integers(68, 3),
        landmark_weights=shape(68, 3),
    )
    face = FaceMesh(arrays, shape(68, 3), shape(68), shape(68, dtype=jnp.bool))
    prior = ZPrior(shape(sizes.i2z.z_size), shape(sizes.i2z.z_size))
    rows = np.arange(1, dtype=np.int32)
    data = AdaptationData(
        VideoData(seen, rows, rows, None), views, None, prior, face, 0.0
    )
    stage, _ = adapt_stage(system, data, weights=AdaptWeights(), mesh=mesh)
    return stage, {
        "pairs": {"row": integers(batch)},
        "replay": {"row": integers(batch)},
    }


STAGES: dict[str, Callable[..., tuple[Stage, PyTree]]] = {
    "landmarks": landmarks,
    "dam": dam,
    "regress": regress,
    "adapt": adapt,
}


def abstract_step(
    name: str, sizes: Preset, mesh: Mesh, *, batch: int, microbatches: int = 1
) -> AbstractStep:
    """The training step of a stage as `train.run` compiles it, of shapes alone, in
    bfloat16."""
    stage, examples = STAGES[name](sizes, batch, jnp.bfloat16, mesh)
    optimizer = build_optimizer(OptimizerConfig(), 10_000)
    create = partial(TrainState.create, optimizer=optimizer)
    state = jax.eval_shape(create, stage.params, stage.stats)
    shardings = parameter_shardings(state, mesh)
    step = stage.step(optimizer, mesh, seed=0, microbatches=microbatches)
    arguments = (
        jax.tree.map(_on, state, shardings),
        jax.tree.map(lambda x: _on(x, replicated(mesh)), stage.frozen),
        jax.tree.map(lambda x: _on(x, batch_sharding(mesh)), examples),
    )
    jitted = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
    return AbstractStep(jitted, arguments, _bytes(stage.params), _bytes(stage.frozen))


def _on(x: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _bytes(tree: PyTree) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
