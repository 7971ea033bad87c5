# SPDX-License-Identifier: Apache-2.0
"""A tracker of a curved sheet, and a video, at a size that compiles in seconds."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.ndimage import gaussian_filter

from i2z_jax.checkpoint import ModelCard
from i2z_jax.config import (
    DAMConfig,
    HourglassConfig,
    I2ZConfig,
    VGGConfig,
)
from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.topology import Topology, landmark_points
from i2z_jax.models.dam import DAM
from i2z_jax.models.heatmaps import Landmarks
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.parameters import Keys
from i2z_jax.objectives.adapt import ZPrior
from i2z_jax.system import System
from i2z_jax.train.adapt_data import AdaptationData, VideoData, face_mesh
from i2z_jax.train.frame_cache import build_cache
from i2z_jax.train.lab_views import LabelledViews
from i2z_jax.train.landmark_bias import LandmarkBias
from tests.geometry.shapes import plane

COLUMNS, ROWS = 5, 6
VERTICES = COLUMNS * ROWS
SIZE, TEXTURE, Z = 32, 16, 4
# A crop shows the whole of a sheet of 150 mm.
POSE = np.array([0.012, 0, 0, 0, 0, 0], np.float32)


def sheet() -> tuple[np.ndarray, Topology]:
    """Vertices in mm, bulging toward the camera, and their topology."""
    grid, faces = plane(COLUMNS, ROWS)
    uvs = np.asarray(grid / [COLUMNS - 1, ROWS - 1] * 0.9 + 0.05, np.float32)
    x, y = ((uvs - 0.5) * 2).T
    vertices = np.stack([60 * x, 75 * y, 30 * (1 - x**2 - y**2)], 1)
    rng = np.random.default_rng(0)
    topology = Topology(
        faces,
        uvs,
        faces,
        VERTICES,
        landmark_faces=rng.integers(0, len(faces), 68).astype(np.int32),
        landmark_barycentric=np.full((68, 3), 1 / 3, np.float32),
    )
    return vertices.astype(np.float32), topology


def moments(count: int) -> list[dict[str, np.ndarray]]:
    """Of a capture: bent sheets, each with a texture and a state of its own."""
    rng = np.random.default_rng(3)
    flat, _ = sheet()
    return [
        {
            "vertices": flat + rng.normal(size=(VERTICES, 3)).astype(np.float32),
            "average_texture": smooth(rng, TEXTURE),
            "z": rng.normal(size=Z).astype(np.float32),
        }
        for _ in range(count)
    ]


def system() -> System:
    """Untrained, but for where the head is."""
    hourglass = HourglassConfig(stacks=1, stem=(4, 8), features=8, depth=1)
    vgg = VGGConfig(depth=16, channels=(4, 4, 8, 8, 16))
    net_config = I2ZConfig(
        image_size=SIZE,
        vgg=vgg,
        hourglass=hourglass,
        z_size=Z,
        level_size=8,
        hidden=(16, 8),
    )
    dam_config = DAMConfig(z_size=Z, vertices=VERTICES, texture_size=TEXTURE)
    net = I2ZNet(net_config, rngs=Keys(0))
    net.pose_mean[...] = jnp.asarray(POSE)
    net.pose_std[...] = jnp.asarray([1e-3, 0.1, 0.1, 0.1, 0.1, 0.1])
    dam = DAM(dam_config, rngs=Keys(1))
    vertices, topology = sheet()
    picture = smooth(np.random.default_rng(1), TEXTURE)
    dam.statistics.set(
        vert_mean=vertices, vert_var=25.0, tex_mean=picture / 255, tex_var=0.01
    )
    return System(
        net,
        dam,
        topology,
        ModelCard("i2znet", net_config, "of a test"),
        ModelCard("dam", dam_config, "of a test"),
    )


def smooth(rng: np.random.Generator, size: int) -> np.ndarray:
    """A smooth random picture, uint8."""
    noise = gaussian_filter(rng.normal(size=(size, size, 3)), (2, 2, 0))
    return (128 + 40 * noise / noise.std()).clip(0, 255).astype(np.uint8)


def adaptation_data(
    given: System, mesh, *, frames: int = 12, views: int = 6
) -> AdaptationData:
    """A drifting picture: pairs 0-6 to learn from, 8-10 for the guard."""
    rng = np.random.default_rng(2)
    still = smooth(rng, SIZE)
    images = np.stack([np.roll(still, k, axis=1) for k in range(frames)])
    cache = build_cache(given.net, images, dtype=jnp.float32, mesh=mesh)
    # The detector sees the face 1.6 px to the right of where the network starts.
    vertices, topology = sheet()
    place = POSE + np.array([0, 0, 0, 0, 0.1, 0], np.float32)
    points = project_weak(place, landmark_points(topology, vertices))[:, :2]
    seen = np.tile((points + 1) * SIZE / 2, (frames, 1, 1))
    cache = cache._replace(
        detected=Landmarks(jnp.asarray(seen), jnp.ones((frames, 68)))
    )
    # Lab views are labelled with what the network says already: nothing to learn there.
    look = nnx.jit(lambda net, images: net(images))
    known = look(given.net, jnp.asarray(images[:views], jnp.float32) / 255)
    labelled = LabelledViews(
        build_cache(given.net, images[:views], dtype=jnp.float32, mesh=mesh).maps,
        known.pose,
        nnx.jit(lambda dam, z: dam.decode_vertices(z))(given.dam, known.z),
        known.z,
    )
    learn = np.arange(0, 7, dtype=np.int32)
    judge = np.arange(8, frames - 1, dtype=np.int32)
    return AdaptationData(
        VideoData(cache, learn, judge, None),
        labelled,
        labelled,
        ZPrior(jnp.zeros(Z), jnp.ones(Z)),
        face_mesh(topology, LandmarkBias.none(68), texture_size=TEXTURE, mesh=mesh),
        nearness=0.0,
    )
