# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation by running statistics, unless in a training view.

Named and stored as `nnx.BatchNorm` (`scale`, `bias`, `mean`, `var`; epsilon and
momentum as PyTorch's defaults). Two differences: it uses the running statistics unless
told otherwise, because most of our networks are frozen; and it replaces the statistics
whole. `nnx.BatchNorm` assigns into them, which in flax 0.12 searches the whole trace
for each layer: tracing a training step of a 4-stack hourglass took minutes.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from i2z_jax.types import Array, Float

EPSILON = 1e-5
# Share of the old statistics that a training step keeps.
MOMENTUM = 0.9


class BatchNorm(nnx.Module):
    """Normalises channels in float32; the result has the input's type.

    `nnx.view(net, use_running_average=False)` is the training view of a network: the
    batch's own statistics, and running ones that follow them.
    """

    def __init__(self, channels: int):
        self.use_running_average = True
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.mean = nnx.BatchStat(jnp.zeros(channels))
        self.var = nnx.BatchStat(jnp.ones(channels))

    def set_view(self, use_running_average: bool | None = None) -> None:
        """What `nnx.view` calls."""
        if use_running_average is not None:
            self.use_running_average = use_running_average

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        mean, var = self.mean[...], self.var[...]
        wide = x.astype(jnp.float32)
        if not self.use_running_average:
            old_mean, old_var = mean, var
            mean = jnp.mean(wide, axis=(0, 1, 2))
            var = jnp.var(wide, axis=(0, 1, 2))
            self.mean.set_value(_follow(old_mean, mean))
            self.var.set_value(_follow(old_var, var))
        factor = self.scale[...] * jax.lax.rsqrt(var + EPSILON)
        row = (None, None, None)
        return ((wide - mean[row]) * factor[row] + self.bias[row]).astype(x.dtype)


def _follow(old: Array, new: Array) -> Array:
    return jax.lax.stop_gradient(MOMENTUM * old + (1 - MOMENTUM) * new)
