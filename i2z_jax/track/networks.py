# SPDX-License-Identifier: Apache-2.0
"""The system's networks, compiled once for one batch size; compile time is its own.

One program serves any number of frames, in chunks of that size, and the videos that
the same process tracks after it.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.chunks import chunks
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.models.heatmaps import soft_argmax
from i2z_jax.stopwatch import COMPILE, Stopwatch
from i2z_jax.system import System
from i2z_jax.types import Float, NDArray, UInt8


class CropLandmarks(NamedTuple):
    """What the landmark stream sees in crops; NaN where a system has none."""

    points: Float[NDArray, "k 68 2"]  # px of the crop
    confidence: Float[NDArray, "k 68"]  # height of the peaks, [0, 1]


class Prediction(NamedTuple):
    """What the network says of crops."""

    z: Float[NDArray, "k z"]
    pose: Float[NDArray, "k 6"]
    seen: CropLandmarks


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FlatModule:
    """A module taken apart: nnx takes 15 ms for that (docs/notes/performance.md), and
    would in every call of a program."""

    leaves: list[Any]
    tree: Any = field(metadata={"static": True})

    @classmethod
    def of(cls, module: Any) -> "FlatModule":
        return cls(*jax.tree.flatten(module))

    def module(self) -> Any:
        return jax.tree.unflatten(self.tree, self.leaves)


class Networks:
    """A system ready for any number of crops.

    Args:
        system: encoder, decoder, topology.
        batch_size: crops in one call of a program.
        clock: gets the stages `landmarks`, `net`, `decoder` and `compile`.
    """

    def __init__(self, system: System, batch_size: int, clock: Stopwatch):
        self.system, self.batch_size, self.clock = system, batch_size, clock
        self.size = system.image_size
        self.net, self.dam = FlatModule.of(system.net), FlatModule.of(system.dam)
        self._hourglass = FlatModule.of(system.net.hourglass)
        self._compiled: set[tuple] = set()

    @property
    def sees_landmarks(self) -> bool:
        """Whether the encoder has a landmark stream."""
        return self.system.net.hourglass is not None

    def landmarks(self, crops: UInt8[NDArray, "k h w 3"]) -> CropLandmarks:
        """The landmark stream alone; half the work of the network."""
        # Following a face goes frame by frame; the rest comes in whole batches.
        size = 1 if len(crops) == 1 else self.batch_size
        seen = self.rows(
            "landmarks", _landmarks, self._hourglass, crops, batch=size, side=self.size
        )
        return CropLandmarks(*seen)

    def predict(self, crops: UInt8[NDArray, "k h w 3"]) -> Prediction:
        """z, H and landmarks."""
        z, pose, *seen = self.rows("net", _predict, self.net, crops, side=self.size)
        return Prediction(z, pose, CropLandmarks(*seen))

    def vertices(self, z: Float[NDArray, "k z"]) -> Float[NDArray, "k n 3"]:
        """Decoded vertices, mm, head space."""
        return self.rows("decoder", _vertices, self.dam, z.astype(np.float32))[0]

    def texture(
        self, z: Float[NDArray, "k z"], view: Float[NDArray, "k 3"]
    ) -> Float[NDArray, "k t t 3"]:
        """Decoded textures as seen from directions in head space, [0, 1]."""
        seen = z.astype(np.float32), view.astype(np.float32)
        return self.rows("texture", _texture, self.dam, *seen, batch=1)[0]

    def rows(
        self,
        stage: str,
        program: Any,
        model: FlatModule,
        *arrays: NDArray,
        batch: int | None = None,
        **static: Any,
    ) -> tuple[NDArray, ...]:
        """A function of a model and of any number of rows, at least one.

        Args:
            stage: its name on the clock.
            program: jitted, `(model, *arrays, **static) -> tuple of arrays`, a row of
                each for a row.
            model: whose parameters it reads.
            arrays: with a row for each row.
            batch: rows in one call of the program; `batch_size` by default.
            static: its static arguments.
        """
        batch, parts = batch or self.batch_size, []
        for rows, new in chunks(len(arrays[0]), batch):
            full = [array[rows] for array in arrays]
            key = stage, batch, *static.values()
            if key not in self._compiled:
                self._compiled.add(key)
                with self.clock.stage(COMPILE):
                    # The call below finds it in the cache of jit.
                    program.lower(model, *full, **static).compile()
            with self.clock.stage(stage, len(rows[new])):
                found = program(model, *full, **static)
                parts.append([np.asarray(x)[new] for x in found])
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


@partial(jax.jit, static_argnames="side")
def _landmarks(hourglass, crops, *, side):
    heatmaps = hourglass.module()(unit_range(crops))[-1]
    return tuple(soft_argmax(heatmaps, side))


@partial(jax.jit, static_argnames="side")
def _predict(net, crops, *, side):
    out = net.module()(unit_range(crops))
    if out.heatmaps is None:
        nothing = jnp.full((len(crops), 68, 3), jnp.nan)
        return out.z, out.pose, nothing[..., :2], nothing[..., 2]
    return out.z, out.pose, *soft_argmax(out.heatmaps, side)


@jax.jit
def _vertices(dam, z):
    return (dam.module().decode_vertices(z),)


@jax.jit
def _texture(dam, z, view):
    return (jnp.clip(dam.module().decode_texture(z, view), 0, 1),)
