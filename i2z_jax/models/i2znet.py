# SPDX-License-Identifier: Apache-2.0
"""I2ZNet: one face crop to facial state z and head pose H (DESIGN section 3).

    image -> streams (frozen) -> StreamMaps -> features u_l -> per level: compress,
    p_l^z and p_l^h -> concatenate -> regress z, and H standardised

`net(image)` is `net.regress(net.streams(image))`. Whoever sees the same frames many
times (adaptation, the ablation) keeps the StreamMaps and calls `regress` alone.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from i2z_jax.config import I2ZConfig
from i2z_jax.errors import InputError, require_multiple
from i2z_jax.models.convolution import Conv
from i2z_jax.models.features import (
    StreamMaps,
    Unified,
    UnifiedFeatures,
    convolve_unified,
)
from i2z_jax.models.hourglass import Hourglass
from i2z_jax.models.parameters import Frozen, freeze
from i2z_jax.models.shape_encoder import ShapeEncoder, ShapeFit
from i2z_jax.models.vgg import VGG
from i2z_jax.types import Array, Float


class I2ZOutput(NamedTuple):
    """What the network says of an image."""

    z: Float[Array, "b z"]
    # H = f (1/mm), rx, ry, rz (rad), tx, ty ([-1, 1] crop units).
    pose: Float[Array, "b 6"]
    # The landmark stream's; None in a variant without one.
    heatmaps: Float[Array, "b h w l"] | None


class Streams(nnx.Module):
    """The pretrained networks of an `I2ZNet`: all that sees an image."""

    def __init__(self, vgg: VGG, hourglass: Hourglass | None, levels: int):
        """The last `levels` of the VGG's maps are kept."""
        self.vgg, self.hourglass, self.levels = vgg, hourglass, levels

    def __call__(self, image: Float[Array, "b h w 3"]) -> StreamMaps:
        with jax.named_scope("vgg"):
            vgg = tuple(self.vgg(image))[-self.levels :]
        with jax.named_scope("hourglass"):
            heatmaps = None if self.hourglass is None else self.hourglass(image)[-1]
        return StreamMaps(vgg, heatmaps)


class LevelEncoder(nnx.Module):
    """u_l to p_l^z and p_l^h: two 3x3 convolutions (ch/4, ch/16), a Dense for each."""

    def __init__(
        self,
        side: int,
        channels: int,
        level_size: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        quarter, sixteenth = channels // 4, channels // 16
        self.dtype = dtype
        self.compress1 = Conv(channels, quarter, dtype=dtype, rngs=rngs)
        self.compress2 = Conv(quarter, sixteenth, dtype=dtype, rngs=rngs)
        flat = side * side * sixteenth
        self.to_z = nnx.Linear(flat, level_size, dtype=dtype, rngs=rngs)
        self.to_pose = nnx.Linear(flat, level_size, dtype=dtype, rngs=rngs)

    def __call__(self, u: Unified) -> tuple[Float[Array, "b p"], Float[Array, "b p"]]:
        x = nnx.relu(convolve_unified(self.compress1, u, dtype=self.dtype))
        x = nnx.relu(self.compress2(x))
        x = x.reshape(len(x), -1)
        return self.to_z(x), self.to_pose(x)


class Regressor(nnx.Module):
    """Level vectors to the target: Dense layers with ReLU between, in float32."""

    def __init__(
        self, size: int, hidden: tuple[int, ...], target: int, *, rngs: nnx.Rngs
    ):
        sizes = (size, *hidden, target)
        self.layers = nnx.List(
            [
                # Accelerators would round the factors to 8 or 11 bits.
                nnx.Linear(a, b, precision="highest", rngs=rngs)
                for a, b in itertools.pairwise(sizes)
            ]
        )

    def __call__(self, p: list[Float[Array, "b _"]]) -> Float[Array, "b d"]:
        x = jnp.concatenate(p, axis=-1).astype(jnp.float32)
        for layer in self.layers:
            x = layer(nnx.relu(x))
        return x


class I2ZNet(nnx.Module):
    """The encoder, in one of four variants.

    | variant | VGG | levels | landmark stream |
    |---|---|---|---|
    | `vgg-scratch` | trained | deepest | - |
    | `vgg` | frozen | deepest | - |
    | `vgg+skip` | frozen | four | - |
    | `vgg+skip+key` | frozen | four | frozen |

    Only `nnx.Param`s are trained (see `parameters.py`); a frozen stream has none.
    `net.vgg = freeze(load(...))` puts a pretrained stream in; one that is to be trained
    on is put in as it is, with `trains_streams` set (`train/streams.py`). `pose_mean`
    and `pose_std` are the training set's, of H; the network regresses (H - mean) / std.
    No output depends on the other images of the batch.
    """

    def __init__(
        self, config: I2ZConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        coarsest = max(32, 4 * 2**config.hourglass.depth)
        require_multiple("image_size", config.image_size, of=coarsest)
        self.image_size = config.image_size
        self.trains_streams = config.trains_vgg
        self.levels = 4 if config.has_skips else 1
        landmarks = config.hourglass.landmarks if config.has_landmarks else 0

        vgg = VGG(config.vgg, dtype=dtype, rngs=rngs)
        self.vgg = vgg if config.trains_vgg else freeze(vgg)
        self.hourglass = (
            freeze(Hourglass(config.hourglass, dtype=dtype, rngs=rngs))
            if landmarks
            else None
        )
        channels = (*config.vgg.channels[2:], config.vgg.channels[4])[-self.levels :]
        sides = [config.image_size // d for d in (4, 8, 16, 32)][-self.levels :]
        self.unify = UnifiedFeatures(channels, landmarks, dtype=dtype)
        self.encoders = nnx.List(
            [
                LevelEncoder(
                    side, c + landmarks, config.level_size, dtype=dtype, rngs=rngs
                )
                for side, c in zip(sides, channels, strict=True)
            ]
        )
        shape_size = config.shape_size if landmarks else 0
        self.shape = (
            ShapeEncoder(
                landmarks, shape_size, config.z_size + 6, dtype=dtype, rngs=rngs
            )
            if shape_size
            else None
        )
        size = self.levels * config.level_size + shape_size
        self.z_regressor = Regressor(size, config.hidden, config.z_size, rngs=rngs)
        self.pose_regressor = Regressor(size, config.hidden, 6, rngs=rngs)
        self.pose_mean = Frozen(jnp.zeros(6))
        self.pose_std = Frozen(jnp.ones(6))

    def __call__(self, image: Float[Array, "b h w 3"]) -> I2ZOutput:
        """z and H of RGB face crops in [0, 1], of the configured size.

        Raises:
            InputError: as `streams`.
        """
        return self.regress(self.streams(image))

    def streams(self, image: Float[Array, "b h w 3"]) -> StreamMaps:
        """The streams' maps; they carry no gradient unless they are trained.

        Raises:
            InputError: images of another size, or not in [0, 1] as bytes are not.
        """
        side = self.image_size
        if image.shape[1:] != (side, side, 3) or image.dtype.kind in "iu":
            raise InputError(
                "not face crops that this network reads",
                expected=f"b {side} {side} 3, RGB, floats in [0, 1]",
                got=f"{' '.join(map(str, image.shape))}, {image.dtype}",
            )
        maps = self.pretrained()(image)
        return maps if self.trains_streams else jax.lax.stop_gradient(maps)

    def pretrained(self) -> Streams:
        """The streams by themselves, without what is trained."""
        return Streams(self.vgg, self.hourglass, self.levels)

    def features(self, maps: StreamMaps) -> tuple[Float[Array, "b _ _ _"], ...]:
        """The unified features u_l, finest level first."""
        return tuple(u.whole() for u in self.unify(maps))

    @jax.named_scope("regressor")
    def regress(self, maps: StreamMaps) -> I2ZOutput:
        """z and H from the streams' maps: all that is trained, and nothing else."""
        levels = [
            encode(u) for encode, u in zip(self.encoders, self.unify(maps), strict=True)
        ]
        answer = None
        if self.shape is not None and maps.heatmaps is not None:
            p_z, p_pose, answer = self.shape(maps.heatmaps)
            levels.append((p_z, p_pose))
        z = self.z_regressor([p_z for p_z, _ in levels])
        pose = self.pose_regressor([p_pose for _, p_pose in levels])
        if answer is not None:
            z, pose = z + answer[:, :-6], pose + answer[:, -6:]
        pose = self.pose_mean[None] + self.pose_std[None] * pose
        return I2ZOutput(z, pose, maps.heatmaps)

    def load_fit(self, fit: ShapeFit) -> None:
        """Before training: be what the shape branch knows without it.

        A probe in closed form, then training of everything from there (Kumar et al.
        2022): the network is the probe until its regressors, whose last layers are
        zero now, have found what it lacks.
        """
        assert self.shape is not None
        self.shape.load_fit(fit)
        for regressor in (self.z_regressor, self.pose_regressor):
            last = regressor.layers[-1]
            last.kernel[...] = jnp.zeros_like(last.kernel[...])
