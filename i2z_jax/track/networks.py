# SPDX-License-Identifier: Apache-2.0
"""The system's networks, compiled once for one batch size; compile time is its own.

One program serves any number of frames, in chunks of that size, and the videos that
the same process tracks after it.
Parameters are arguments of the programs, not constants in them. They are taken out of
their modules once, because nnx takes 15 ms for that (docs/notes/performance.md).
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
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
        self._programs: dict[tuple[str, int], Program] = {}

    @property
    def sees_landmarks(self) -> bool:
        """Whether the encoder has a landmark stream."""
        return self.system.net.hourglass is not None

    def landmarks(self, crops: UInt8[NDArray, "k h w 3"]) -> CropLandmarks:
        """The landmark stream alone; half the work of the network."""

        # Following a face goes frame by frame; the rest comes in whole batches.
        batch = 1 if len(crops) == 1 else self.batch_size
        net = self.system.net.hourglass
        program = _landmarks(self.size)
        return CropLandmarks(*self._run("landmarks", program, net, (crops,), batch))

    def predict(self, crops: UInt8[NDArray, "k h w 3"]) -> Prediction:
        """z, H and landmarks."""

        z, pose, points, confidence = self._run(
            "net", _predict(self.size), self.system.net, (crops,), self.batch_size
        )
        return Prediction(z, pose, CropLandmarks(points, confidence))

    def vertices(self, z: Float[NDArray, "k z"]) -> Float[NDArray, "k n 3"]:
        """Decoded vertices, mm, head space."""
        arrays = (z.astype(np.float32),)
        batch = self.batch_size
        return self._run("decoder", _vertices, self.system.dam, arrays, batch)[0]

    def texture(
        self, z: Float[NDArray, "k z"], view: Float[NDArray, "k 3"]
    ) -> Float[NDArray, "k t t 3"]:
        """Decoded textures as seen from directions in head space, [0, 1]."""
        arrays = (z.astype(np.float32), view.astype(np.float32))
        return self._run("texture", _texture, self.system.dam, arrays, 1)[0]

    def _run(
        self,
        name: str,
        function: Callable,
        model: Any,
        arrays: tuple[np.ndarray, ...],
        batch_size: int,
    ) -> tuple[np.ndarray, ...]:
        key = name, batch_size
        if key not in self._programs:
            self._programs[key] = Program(name, function, model, batch_size, self.clock)
        return self._programs[key](*arrays)


class Program:
    """A function of a model and rows of arrays, compiled once for one batch size.

    Args:
        name: of its stage.
        function: `(model, *arrays) -> tuple of arrays`, a row of each for a row.
        model: whose parameters it reads.
        batch_size: rows in one call of the compiled program.
        clock: gets the stages `name` and `compile`.
    """

    def __init__(
        self,
        name: str,
        function: Callable,
        model: Any,
        batch_size: int,
        clock: Stopwatch,
    ):
        self._name, self._function, self._model = name, function, model
        self._batch_size, self._clock = batch_size, clock
        self._compiled: Callable | None = None

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """The function of any number of rows, at least one."""
        parts = []
        for rows, new in chunks(len(arrays[0]), self._batch_size):
            full = [array[rows] for array in arrays]
            if self._compiled is None:
                with self._clock.stage(COMPILE):
                    self._compiled = self._compile(full)
            with self._clock.stage(self._name, len(rows[new])):
                parts.append([np.asarray(x)[new] for x in self._compiled(*full)])
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def _compile(self, arrays: list[np.ndarray]) -> Callable:
        parameters, tree = jax.tree.flatten(self._model)
        compiled = _compiled(self._function, tree, _shapes(parameters), _shapes(arrays))
        return partial(compiled, parameters)


def _shapes(arrays: Sequence[Any]) -> tuple[jax.ShapeDtypeStruct, ...]:
    return tuple(
        jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=getattr(a, "sharding", None))
        for a in arrays
    )


# The programs of the last videos stay: tracing them again takes seconds.
@lru_cache(maxsize=16)
def _compiled(
    function: Callable,
    tree: Any,
    parameters: tuple[jax.ShapeDtypeStruct, ...],
    arrays: tuple[jax.ShapeDtypeStruct, ...],
) -> Callable:
    def flat(parameters, *arrays):
        return function(jax.tree.unflatten(tree, parameters), *arrays)

    return jax.jit(flat).lower(list(parameters), *arrays).compile()


# One function for each size, so that the programs are found again.
@cache
def _landmarks(size: int) -> Callable:
    def program(hourglass, crops):
        heatmaps = hourglass(unit_range(crops))[-1]
        return tuple(soft_argmax(heatmaps, size))

    return program


@cache
def _predict(size: int) -> Callable:
    def program(net, crops):
        out = net(unit_range(crops))
        if out.heatmaps is None:
            nothing = jnp.full((len(crops), 68, 3), jnp.nan)
            return out.z, out.pose, nothing[..., :2], nothing[..., 2]
        return out.z, out.pose, *soft_argmax(out.heatmaps, size)

    return program


def _vertices(dam, z):
    return (dam.decode_vertices(z),)


def _texture(dam, z, view):
    return (jnp.clip(dam.decode_texture(z, view), 0, 1),)
