# SPDX-License-Identifier: Apache-2.0
"""A fresh appearance model that knows its meshes: it starts as their PCA [ours].

The published networks start random and find the shapes of a face in 200,000 steps.
But the best linear autoencoder of the meshes is known in closed form, and a pair of
LeakyReLU units passes a number through unchanged (leaky(a) - leaky(-a) = (1 + slope)
a), so the mesh path can begin there. What training has left to do is the texture, and
what is not linear.

z is whitened: of unit variance over the capture, as the prior wants it. The posterior's
spread starts where the objective has its minimum for such a model (Lucas et al. 2019,
"Don't blame the ELBO!"): wide for components that move the face little.
"""

import cv2
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from i2z_jax.data.capture_source import CaptureSource
from i2z_jax.geometry.components import principal_components
from i2z_jax.models.dam import CODE, DAM
from i2z_jax.models.dam_layers import SLOPE, WeightNorm
from i2z_jax.objectives.dam import DAMWeights
from i2z_jax.sharding import of_first_process, put, whole
from i2z_jax.types import Float, NDArray

# Root mean square of what a raw kernel's columns are made of. Under weight norm it is
# free, and Adam, whose steps have one size, turns a long column slowly. With columns of
# the usual length the texture's gradient, which is the larger by far, would undo the
# mesh path within a hundred steps.
LENGTH = 50.0


def normalisation(source: CaptureSource) -> dict[str, NDArray | float]:
    """What `Statistics.set` takes, of a capture: mm, mm², textures of [0, 1]."""
    stats, size = source.statistics, source.texture_size
    texture_mean = cv2.resize(
        stats.texture_mean.astype(np.float32),
        (size, size),
        interpolation=cv2.INTER_AREA,
    )
    return {
        "vert_mean": stats.vertex_mean,
        "vert_var": stats.vertex_variance,
        # Multiface's textures are 0..255.
        "tex_mean": texture_mean / 255,
        "tex_var": stats.texture_variance / 255**2,
    }


def start_from_meshes(
    dam: DAM, vertices: Float[NDArray, "m n 3"], weights: DAMWeights
) -> None:
    """Set the mesh path of a fresh model, in place, to the PCA of some meshes.

    Components that the meshes do not have (fewer of them than z has, say), and the
    units no component needs, stay random. The texture's way into z starts at zero.

    Args:
        dam: fresh, with the capture's statistics set.
        vertices: mm, head space, spread over what is trained on.
        weights: of the objective; they decide how much of z is noise.
    """
    statistics = dam.statistics
    scale = float(np.sqrt(statistics.vert_var[...]))
    mean = np.asarray(statistics.vert_mean[...], np.float64)
    normal = (vertices.astype(np.float64) - mean).reshape(len(vertices), -1) / scale
    z_size = dam.decoder.state.kernel.shape[0]
    directions, std = principal_components(normal, min(z_size, CODE // 2))
    count, outputs = len(std), normal.shape[1]
    # Share of the mean squared error that the objective sees.
    share = std**2 / outputs
    pair = np.concatenate([np.arange(count)] * 2)
    sign = np.repeat([1.0, -1.0], count)
    units = slice(0, 2 * count)

    def pairs(rows: NDArray) -> NDArray:
        """A row for each unit: +- the component's."""
        return rows[pair] * sign[:, None]

    encoder, decoder = dam.encoder, dam.decoder
    kernel = _raw(encoder.mesh)
    kernel[:, units] = pairs(directions / std[:, None]).T
    _set(encoder.mesh, kernel)

    # [texture code, mesh code] -> [10 mean, 100 log_std]: `Encoder` scales them back.
    kernel, bias = _raw(encoder.latent), np.zeros(2 * z_size)
    chosen = np.arange(count)
    kernel[:, chosen] = 0
    kernel[:, z_size + chosen] = 0
    kernel[CODE : CODE + 2 * count, chosen] = pairs(np.eye(count) * 10 / (1 + SLOPE))
    price = weights.kl / z_size
    bias[z_size + chosen] = 50 * np.log(price / (2 * weights.vertices * share + price))
    _set(encoder.latent, kernel, bias)

    kernel = _raw(decoder.state)
    kernel[:, units] = 0
    kernel[chosen, units] = pairs(np.eye(count)).T
    _set(decoder.state, kernel)

    kernel = np.zeros((CODE, outputs))
    kernel[units] = pairs(directions * std[:, None] / (1 + SLOPE))
    _set(decoder.mesh, kernel)


def _raw(layer: WeightNorm) -> NDArray:
    kernel = layer.kernel[...]
    place = kernel.sharding
    if isinstance(place, NamedSharding) and isinstance(place.mesh, Mesh):
        kernel = whole(kernel, place.mesh)  # it may be divided over processes
    return np.array(kernel, np.float64)


def _set(layer: WeightNorm, kernel: NDArray, bias: NDArray | None = None) -> None:
    """The kernel that is multiplied with, held in long columns (see `LENGTH`)."""
    rms = np.sqrt(np.mean(kernel**2, axis=0))
    longer = LENGTH / np.where(rms > 0, rms, 1.0)
    raw = kernel * longer
    values = {"kernel": raw, "g": np.linalg.norm(raw) / longer}
    if bias is not None:
        values["bias"] = bias
    for name, value in values.items():
        variable = getattr(layer, name)
        old = variable[...]
        value = of_first_process(np.asarray(value, np.float32))
        variable[...] = put(jnp.asarray(value), old.sharding)
