# SPDX-License-Identifier: Apache-2.0
"""Landmark coordinates to p^z, p^h and an answer of their own [ours].

The published network sees landmarks as heatmaps only, and has to learn from labels
where in a map its peak is. A few hundred moments are too few to learn that from; a
soft-argmax gives the coordinates outright (measured: docs/notes/training.md).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from i2z_jax.models.heatmaps import soft_argmax
from i2z_jax.models.parameters import Fitted
from i2z_jax.types import Array, Float

# Width of the hidden layer.
UNITS = 2048
# Of the standard deviation of the widest direction.
LEAST_SPREAD = 0.2
# In the least squares of the answer: about what one view weighs.
RIDGE = 5e-4
# Standard deviation of a random unit's bias, about that of what it is added to: of 139
# whitened numbers a few vary by 1, the others hardly.
BEND = 0.3

# A TPU rounds the factors of a product to bfloat16 unless it is told otherwise: that
# alone would move H by 0.16 px of 256 from frame to frame.
PRECISION = "highest"

# Kernel and bias.
Layer = tuple[Float[Array, "i o"], Float[Array, "o"]]


class ShapeFit(NamedTuple):
    """What a `ShapeEncoder` knows before training, by its attributes' names."""

    mean: Float[Array, "d"]
    whiten: Float[Array, "d d"]
    units: Layer
    answer: Layer


class ShapeEncoder(nnx.Module):
    """Heatmaps to p^z, p^h, and an answer of its own.

    Coordinates are taken about their centre in units of their spread; centre and spread
    follow as three more numbers. Nearly all of their variance is the head's pose, and
    expressions are what is left: `mean` and `whiten`, of the training set, make all
    directions equally large, without which thousands of steps learn an open jaw and
    nothing else. `answer`, a linear readout of these numbers and of one hidden layer of
    `units`, is known before any step, in closed form (`fit_shape`).
    """

    def __init__(
        self,
        landmarks: int,
        size: int,
        target: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        inputs = 2 * landmarks + 3
        self.mean = Fitted(jnp.zeros(inputs))
        self.whiten = Fitted(jnp.eye(inputs))
        self.to_z = nnx.Linear(inputs, size, dtype=dtype, rngs=rngs)
        self.to_pose = nnx.Linear(inputs, size, dtype=dtype, rngs=rngs)
        # What is added to z and H as it is: see PRECISION.
        exact = partial(nnx.Linear, precision=PRECISION, rngs=rngs)
        zeros = nnx.initializers.zeros_init()
        self.units = exact(inputs, UNITS)
        self.answer = exact(inputs + UNITS, target, kernel_init=zeros)

    def __call__(
        self, heatmaps: Float[Array, "b h w l"]
    ) -> tuple[Float[Array, "b p"], Float[Array, "b p"], Float[Array, "b t"]]:
        """p^z, p^h, and the answer: z, and H standardised."""
        centred = shape_of(heatmaps) - self.mean[...][None]
        x = jnp.matmul(centred, self.whiten[...], precision=PRECISION)
        return (
            self.to_z(x),
            self.to_pose(x),
            self.answer(readout_features(x, self.units(x))),
        )

    def load_fit(self, fit: ShapeFit) -> None:
        """Take over statistics and layers."""
        self.mean[...], self.whiten[...] = fit.mean, fit.whiten
        for layer, (kernel, bias) in (
            (self.units, fit.units),
            (self.answer, fit.answer),
        ):
            assert layer.bias is not None
            layer.kernel[...], layer.bias[...] = kernel, bias


def shape_of(heatmaps: Float[Array, "b h w l"]) -> Float[Array, "b d"]:
    """What a `ShapeEncoder` reads: coordinates, their centre, log of their spread."""
    points = soft_argmax(heatmaps.astype(jnp.float32), 2).points - 1
    shape, centre, size = _normal_shape(points)
    return jnp.concatenate([shape.reshape(len(shape), -1), centre, size], -1)


def readout_features(
    x: Float[Array, "b d"], units: Float[Array, "b u"]
) -> Float[Array, "b du"]:
    """What the answer is read from: the numbers, and the hidden layer.

    Scaled by their count: Adam moves every weight by about as much, which without it
    would undo a wide answer in its first steps.
    """
    both = jnp.concatenate([x, nnx.relu(units)], -1)
    return both * both.shape[-1] ** -0.5


@jax.default_matmul_precision(PRECISION)
def fit_shape(
    heatmaps: Float[Array, "n h w l"],
    target: Float[Array, "n t"],
    *,
    seed: int = 0,
) -> ShapeFit:
    """Fit the readout in closed form.

    Ridge regression on random ReLU features (Rahimi and Recht 2008).

    Args:
        heatmaps: of the views.
        target: z, and H standardised.
        seed: of the units.
    """
    x = shape_of(heatmaps)
    mean, whiten = whitening(x)
    x = (x - mean[None]) @ whiten
    of_kernel, of_bias = jax.random.split(jax.random.key(seed))
    kernel = jax.random.normal(of_kernel, (x.shape[1], UNITS)) / x.shape[1] ** 0.5
    bias = BEND * jax.random.normal(of_bias, (UNITS,))
    answer = ridge(readout_features(x, x @ kernel + bias[None]), target)
    return ShapeFit(mean, whiten, (kernel, bias), answer)


def whitening(
    x: Float[Array, "n d"],
) -> tuple[Float[Array, "d"], Float[Array, "d d"]]:
    """Mean, and what makes all directions of `x` about equally large.

    Directions that hardly vary, the detector's noise, stay below the others.
    """
    mean = x.mean(0)
    centred = x - mean[None]
    variance, directions = jnp.linalg.eigh(centred.T @ centred / len(x))
    scale = jax.lax.rsqrt(jnp.maximum(variance, 0) + LEAST_SPREAD**2 * variance[-1])
    return mean, directions * scale[None]


def ridge(x: Float[Array, "n d"], y: Float[Array, "n t"]) -> Layer:
    """Kernel and bias of least squares, `y = x @ kernel + bias`, kernels kept small."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x[None], y - mean_y[None]
    normal = x.T @ x + RIDGE * jnp.eye(x.shape[1])
    kernel = jnp.linalg.solve(normal, x.T @ y)
    return kernel, mean_y - mean_x @ kernel


def _normal_shape(
    points: Float[Array, "b l 2"],
) -> tuple[Float[Array, "b l 2"], Float[Array, "b 2"], Float[Array, "b 1"]]:
    """Points about their centre in units of their spread; centre; log spread."""
    centre = points.mean(-2, keepdims=True)
    spread = jnp.sqrt(jnp.mean((points - centre) ** 2, (-2, -1), keepdims=True) + 1e-6)
    return (points - centre) / spread, centre[:, 0], jnp.log(spread[:, 0])
