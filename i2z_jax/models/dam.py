# SPDX-License-Identifier: Apache-2.0
"""Deep appearance model: mesh and average texture -> z -> mesh and view's texture.

DESIGN section 4. The networks of Multiface (Wuu et al. 2022) after Lombardi et al.
2018, in its five published variants, which differ in one thing each:

| variant | differs from `base` by |
|---|---|
| `res` | a residual 3x3 convolution after every (de)convolution |
| `non` | no bias per texel |
| `bilinear` | repeated texels and a 3x3 convolution in place of deconvolutions |
| `warp` | a decoded field moves the texels of the texture |

Callers see mm and [0, 1] only: the statistics are part of the model. Texture row 0 is
v = 0, which is Multiface's order too. Published sizes are textures of 1024² (4x4 at
the bottom, four blocks) and 512² (2x2); a smaller texture is one of these without its
finest blocks [ours]: 256² starts at 4x4, 128² at 2x2, with three blocks each.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from i2z_jax.config import DAMConfig
from i2z_jax.errors import InputError
from i2z_jax.models.dam_layers import DownBlock, NormedDense, UpBlock, activate
from i2z_jax.models.dam_warp import WarpDecoder, warp
from i2z_jax.models.parameters import Frozen
from i2z_jax.models.resampling import halve_to
from i2z_jax.types import Array, Float, Int

# Channels after each block of a 1024² or 512² texture.
DOWN_CHANNELS = (16, 32, 64, 128)
UP_CHANNELS = (64, 32, 16)
# Lengths of the codes of mesh, texture and state, and of the view.
CODE, VIEW_CODE = 256, 8


class Posterior(NamedTuple):
    """What the encoder says about z: a normal distribution with diagonal covariance."""

    mean: Float[Array, "b z"]
    log_std: Float[Array, "b z"]

    def z(self, key: Array | None = None) -> Float[Array, "b z"]:
        """The mean, which is the target of regression; with a `key`, a sample."""
        if key is None:
            return self.mean
        noise = jax.random.normal(key, self.mean.shape)
        return self.mean + jnp.exp(self.log_std) * noise


class Face(NamedTuple):
    """A decoded face. The texture is not clipped: it can leave [0, 1] a little."""

    vertices: Float[Array, "b n 3"]  # mm, head space
    texture: Float[Array, "b t t 3"]


class DAMOutput(NamedTuple):
    """A face through the whole autoencoder."""

    vertices: Float[Array, "b n 3"]
    texture: Float[Array, "b t t 3"]
    posterior: Posterior


class Statistics(nnx.Module):
    """Mean and variance of the training set; without them, millimetres are wrong.

    Attributes:
        vert_mean: `n 3`, mm; vert_var: one variance for all coordinates, mm².
        tex_mean: `t t 3`, in [0, 1]; tex_var: one variance for all texels, of [0, 1].
    """

    def __init__(self, config: DAMConfig):
        t = config.texture_size
        self.vert_mean = Frozen(jnp.zeros((config.vertices, 3)))
        self.vert_var = Frozen(jnp.ones(()))
        self.tex_mean = Frozen(jnp.zeros((t, t, 3)))
        self.tex_var = Frozen(jnp.ones(()))

    def set(self, **values: Any) -> None:
        """Store statistics by attribute name.

        Raises:
            InputError: a shape differs from the model's: another topology, say.
        """
        for name, value in values.items():
            variable = getattr(self, name)
            value = jnp.asarray(value, jnp.float32)
            if value.shape != variable.shape:
                raise InputError(
                    "statistics of another mesh or texture",
                    where=name,
                    expected=variable.shape,
                    got=value.shape,
                )
            variable[...] = value

    def normalize_vertices(self, x: Float[Array, "b n 3"]) -> Float[Array, "b n 3"]:
        return (x - self.vert_mean[...][None]) / jnp.sqrt(self.vert_var[...])

    def restore_vertices(self, x: Float[Array, "b n 3"]) -> Float[Array, "b n 3"]:
        x = x.astype(jnp.float32)
        return x * jnp.sqrt(self.vert_var[...]) + self.vert_mean[...][None]

    def normalize_texture(self, x: Float[Array, "b t t 3"]) -> Float[Array, "b t t 3"]:
        """Exact zeros were seen by no camera: they become the mean, as published."""
        normal = (x - self.tex_mean[...][None]) / jnp.sqrt(self.tex_var[...])
        return jnp.where(x == 0, 0.0, normal)

    def restore_texture(self, x: Float[Array, "b t t 3"]) -> Float[Array, "b t t 3"]:
        """Of a halved texture, too: the mean is halved to match."""
        mean = halve_to(self.tex_mean[...][None], x.shape[1])
        return x.astype(jnp.float32) * jnp.sqrt(self.tex_var[...]) + mean


class Encoder(nnx.Module):
    """Normalised mesh and average texture -> mean and log-std of z."""

    def __init__(self, config: DAMConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        start, blocks = texture_plan(config.texture_size)
        channels = (3, *DOWN_CHANNELS[-blocks:])
        kinds = {"dtype": dtype, "rngs": rngs}
        self.blocks = nnx.List(
            [
                DownBlock(i, o, residual=config.variant == "res", **kinds)
                for i, o in itertools.pairwise(channels)
            ]
        )
        self.texture = NormedDense(start**2 * channels[-1], CODE, **kinds)
        self.mesh = NormedDense(3 * config.vertices, CODE, **kinds)
        self.latent = NormedDense(2 * CODE, 2 * config.z_size, gain=1.0, **kinds)

    def __call__(
        self, vertices: Float[Array, "b n 3"], texture: Float[Array, "b t t 3"]
    ) -> Posterior:
        b = vertices.shape[0]
        x = texture
        for block in self.blocks:
            x = block(x)
        texture_code = activate(self.texture(x.reshape(b, -1)))
        mesh_code = activate(self.mesh(vertices.reshape(b, -1)))
        latent = self.latent(jnp.concatenate([texture_code, mesh_code], -1))
        mean, log_std = jnp.split(latent.astype(jnp.float32), 2, -1)
        return Posterior(0.1 * mean, 0.01 * log_std)


class Decoder(nnx.Module):
    """z and view -> normalised vertices and texture. The mesh does not see the view."""

    def __init__(self, config: DAMConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.start, blocks = texture_plan(config.texture_size)
        kinds = {"dtype": dtype, "rngs": rngs}
        self.state = NormedDense(config.z_size, CODE, **kinds)
        self.mesh = NormedDense(CODE, 3 * config.vertices, gain=1.0, **kinds)
        self.view = NormedDense(3, VIEW_CODE, **kinds)
        self.texture = NormedDense(
            VIEW_CODE + CODE, self.start**2 * config.z_size, **kinds
        )
        channels = (config.z_size, *UP_CHANNELS[: blocks - 1], 3)
        self.blocks = nnx.List(
            [
                UpBlock(
                    i,
                    i,
                    o,
                    self.start * 4 ** (index + 1),
                    variant=config.variant,
                    final=index == blocks - 1,
                    **kinds,
                )
                for index, (i, o) in enumerate(itertools.pairwise(channels))
            ]
        )

    def vertices(self, z: Float[Array, "b z"]) -> Float[Array, "b n 3"]:
        x = self.mesh(activate(self.state(z)))
        return x.reshape(x.shape[0], -1, 3)

    def unwarped_texture(
        self, z: Float[Array, "b z"], view: Float[Array, "b 3"]
    ) -> Float[Array, "b t t 3"]:
        x = self._coarse_texture(z, view)
        return self.blocks[-1](x)

    def halved_texture(
        self, z: Float[Array, "b z"], view: Float[Array, "b 3"]
    ) -> Float[Array, "b t2 t2 3"]:
        """`mean_pool` of `unwarped_texture`."""
        return self.blocks[-1].halved(self._coarse_texture(z, view))

    def texture_difference(
        self, one: tuple[Array, Array], other: tuple[Array, Array]
    ) -> Float[Array, "b t t 3"]:
        """Unwarped texture of one (z, view) less that of another.

        The last layer is affine: it is applied once, to the difference.
        """
        end = self.blocks[-1]
        ours, theirs = (
            end.middle(self._coarse_texture(*code)) for code in (one, other)
        )
        return end.linear_end(ours - theirs)

    def _coarse_texture(self, z: Array, view: Array) -> Float[Array, "b h w c"]:
        """All blocks but the last."""
        codes = [activate(self.view(view)), activate(self.state(z))]
        x = activate(self.texture(jnp.concatenate(codes, -1)))
        x = x.reshape(x.shape[0], self.start, self.start, -1)
        for block in self.blocks[:-1]:
            x = block(x)
        return x


class ColourCorrection(nnx.Module):
    """Scale and bias per camera and channel, on normalised textures.

    Camera 0 is the anchor: its row is the identity and never read. Any number that
    is no camera of the model is the identity too, which is how a phone is passed: -1.
    """

    def __init__(self, cameras: int):
        self.scale = nnx.Param(jnp.ones((cameras, 3)))
        self.bias = nnx.Param(jnp.zeros((cameras, 3)))

    def __call__(
        self, texture: Float[Array, "b t t 3"], camera: Int[Array, "b"]
    ) -> Float[Array, "b t t 3"]:
        # Beyond the table is what `mode="fill"` replaces.
        row = jnp.where(camera > 0, camera, self.scale.shape[0])
        scale = self.scale[...].at[row].get(mode="fill", fill_value=1)
        bias = self.bias[...].at[row].get(mode="fill", fill_value=0)
        return texture * scale[:, None, None] + bias[:, None, None]


class DAM(nnx.Module):
    """The deep appearance model of one person.

    Args:
        config: variant and sizes.
        dtype: what is computed in; parameters, statistics and outputs are float32.

    Raises:
        InputError: a texture size that no network is published or derived for.
    """

    def __init__(
        self, config: DAMConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        kinds = {"dtype": dtype, "rngs": rngs}
        self.statistics = Statistics(config)
        self.encoder = Encoder(config, **kinds)
        self.decoder = Decoder(config, **kinds)
        self.warp = (
            WarpDecoder(config.z_size, config.texture_size, rngs=rngs)
            if config.variant == "warp"
            else None
        )
        self.colour = ColourCorrection(config.cameras)

    def encode(
        self, vertices: Float[Array, "b n 3"], average_texture: Float[Array, "b t t 3"]
    ) -> Posterior:
        """The distribution of z.

        Args:
            vertices: mm, head space.
            average_texture: mean over the cameras, in [0, 1]; exactly 0 = not seen.
        """
        return self.encoder(
            self.statistics.normalize_vertices(vertices),
            self.statistics.normalize_texture(average_texture),
        )

    @jax.named_scope("decoder")
    def decode_vertices(self, z: Float[Array, "b z"]) -> Float[Array, "b n 3"]:
        """Vertices in mm, head space."""
        return self.statistics.restore_vertices(self.decoder.vertices(z))

    @jax.named_scope("decoder")
    def decode_texture(
        self,
        z: Float[Array, "b z"],
        view: Float[Array, "b 3"],
        camera: Int[Array, "b"] | None = None,
        *,
        size: int | None = None,
    ) -> Float[Array, "b t t 3"]:
        """Texture as seen from a direction, about [0, 1].

        Args:
            view: unit vector from the head to the camera, in head space.
            camera: row of the colour correction; None or -1 leaves colours alone.
            size: side of the result, a power of two below the texture's; its texels
                are means. The largest map of a decoder is then not made at all.
        """
        full = self.statistics.tex_mean.shape[0]
        size = full if size is None else size
        if size < full and self.warp is None:
            texture = self.decoder.halved_texture(z, view)
        else:
            texture = self.decoder.unwarped_texture(z, view)
        if self.warp is not None:
            texture = warp(texture.astype(jnp.float32), self.warp(z))
        texture = halve_to(texture, size)
        if camera is not None:
            texture = self.colour(texture, camera)
        return self.statistics.restore_texture(texture)

    @jax.named_scope("decoder")
    def texture_difference(
        self,
        z: Float[Array, "b z"],
        view: Float[Array, "b 3"],
        other_z: Float[Array, "b z"],
        other_view: Float[Array, "b 3"],
    ) -> Float[Array, "b t t 3"]:
        """`decode_texture` of one less that of the other, in colours of [0, 1].

        Makes one full-size map where two calls of `decode_texture` make two: the last
        layer is affine, so it is applied to the difference.
        """
        if self.warp is not None:  # reads each texture in places of its own
            return self.decode_texture(z, view) - self.decode_texture(
                other_z, other_view
            )
        difference = self.decoder.texture_difference((z, view), (other_z, other_view))
        scale = jnp.sqrt(self.statistics.tex_var[...])
        return difference.astype(jnp.float32) * scale

    def decode(
        self,
        z: Float[Array, "b z"],
        view: Float[Array, "b 3"],
        camera: Int[Array, "b"] | None = None,
    ) -> Face:
        """Mesh and texture; arguments as of `decode_texture`."""
        return Face(self.decode_vertices(z), self.decode_texture(z, view, camera))

    def __call__(
        self,
        vertices: Float[Array, "b n 3"],
        average_texture: Float[Array, "b t t 3"],
        view: Float[Array, "b 3"],
        camera: Int[Array, "b"] | None = None,
        *,
        key: Array | None = None,
    ) -> DAMOutput:
        """Encode, then decode the posterior's mean or, with a `key`, a sample."""
        posterior = self.encode(vertices, average_texture)
        face = self.decode(posterior.z(key), view, camera)
        return DAMOutput(*face, posterior)


def texture_plan(texture_size: int) -> tuple[int, int]:
    """Size of the coarsest map (2 or 4) and number of blocks, each a factor of 4.

    >>> texture_plan(1024), texture_plan(512), texture_plan(64)
    ((4, 4), (2, 4), (4, 2))
    """
    for blocks in range(1, len(DOWN_CHANNELS) + 1):
        for start in (2, 4):
            if start * 4**blocks == texture_size:
                return start, blocks
    raise InputError(
        "no network for this texture size",
        where="texture_size",
        expected="a power of two from 8 to 1024",
        got=texture_size,
    )
