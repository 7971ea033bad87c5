# SPDX-License-Identifier: Apache-2.0
"""Warp of the `warp` variant: z -> where each texel is read from (DESIGN section 4).

The published conventions, odd ones included: steps between neighbours are sums of
sigmoids, so rows and columns keep their order; the field is centred, scaled and cut
to [-1, 1]; it is read as texel edges at ±1 though its own ends stand at ±1 (PyTorch's
`grid_sample` with its defaults on a grid made for `align_corners=True`).

Everything here is float32 whatever the model computes in: the field is geometry, and
bfloat16 would move texels by whole texels.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from i2z_jax.models.dam_layers import NormedDense, UpBlock, Upsample, activate
from i2z_jax.types import Array, Float

# Scale of the summed steps, before the cut at ±1.
STEP = 0.032


class WarpDecoder(nnx.Module):
    """z -> sampling field `b t t 2` (x, y in [-1, 1]) at texture size.

    The field is decoded on a grid of 128² for a 1024² texture and of 64² for smaller
    ones. At 128² the published network makes 16 channels of which it uses two; they
    are kept, as the norm of the last weight spans all of them.
    """

    def __init__(self, z_size: int, texture_size: int, *, rngs: nnx.Rngs):
        self.texture_size = texture_size
        kinds = {"dtype": jnp.float32, "rngs": rngs}
        self.first = NormedDense(z_size, 256, **kinds)
        self.second = NormedDense(256, 1024, **kinds)
        layers: list[nnx.Module] = [UpBlock(256, 128, 64, 8, **kinds)]
        if texture_size == 1024:
            layers.append(UpBlock(64, 64, 32, 32, **kinds))
            layers.append(UpBlock(32, 32, 16, 128, final=True, **kinds))
        else:
            layers.append(UpBlock(64, 32, 32, 32, **kinds))
            layers.append(Upsample(32, 2, 64, texel_bias=False, **kinds))
        self.layers = nnx.List(layers)

    def __call__(self, z: Float[Array, "b z"]) -> Float[Array, "b t t 2"]:
        x = activate(self.second(activate(self.first(z))))
        x = x.reshape(x.shape[0], 2, 2, 256)
        for layer in self.layers:
            x = layer(x)
        steps = jax.nn.sigmoid(x[..., :2])
        across = jnp.cumsum(steps[..., 0], axis=2)
        down = jnp.cumsum(steps[..., 1], axis=1)
        field = jnp.stack([across, down], axis=-1)
        field = field - jnp.mean(field, axis=(1, 2), keepdims=True)
        field = jnp.clip(STEP * field, -1.0, 1.0)
        size = (x.shape[0], self.texture_size, self.texture_size, 2)
        return jax.image.resize(field, size, "linear", antialias=False)


def warp(
    texture: Float[Array, "b t t 3"], field: Float[Array, "b t t 2"]
) -> Float[Array, "b t t 3"]:
    """Read `texture` bilinearly where `field` says, zero outside.

    Args:
        field: x (columns) and y (rows), -1 and 1 being the texture's edges.
    """
    b, height, width, _ = texture.shape
    # A border of zeros stands for everything outside; positions are cut to it.
    padded = jnp.pad(texture, ((0, 0), (1, 1), (1, 1), (0, 0)))
    size = jnp.asarray([width, height], jnp.float32)
    position = (field + 1) * (size / 2)[None, None, None] + 0.5
    position = jnp.clip(position, 0, (size + 1)[None, None, None])
    corner = jnp.minimum(jnp.floor(position), size[None, None, None])
    weight = position - corner
    column, row = (corner[..., axis].astype(jnp.int32) for axis in (0, 1))
    x, y = weight[..., :1], weight[..., 1:]
    image = jnp.arange(b)[:, None, None]

    def texel(right: int, below: int) -> Array:
        return padded[image, row + below, column + right]

    above = texel(0, 0) * (1 - x) + texel(1, 0) * x
    below = texel(0, 1) * (1 - x) + texel(1, 1) * x
    return above * (1 - y) + below * y
