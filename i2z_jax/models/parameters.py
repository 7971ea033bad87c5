# SPDX-License-Identifier: Apache-2.0
"""Which numbers of a network are trained, and which are only read (DESIGN 3.4).

One rule for the whole project: what is trained is an `nnx.Param`, and nothing else is.
A frozen stream's weights are `Frozen`, so that they enter no gradient, no optimizer
state, no all-reduce and no training checkpoint, without any list of names.
"""

from typing import NamedTuple, TypeVar

import jax
from flax import nnx

from i2z_jax.types import Array

Module = TypeVar("Module", bound=nnx.Module)


class Frozen(nnx.Variable):
    """A stored array that is never trained: pretrained weights, data statistics."""


class Fitted(Frozen):
    """What a run fits before its first step and keeps: a part of its checkpoints.

    A second fit on other devices would differ in the last bits, and the weights that
    were trained on the first would no longer match it.
    """


class Parameter(NamedTuple):
    """One array of a network."""

    name: str
    shape: tuple[int, ...]
    count: int
    trained: bool


class Keys(nnx.Rngs):
    """The keys of `nnx.Rngs(seed)`, for building a network inside a traced function.

    `nnx.Rngs` counts in an array, and every update of a traced array makes flax 0.12
    search the whole trace so far: a minute for a 4-stack hourglass, two seconds so.
    """

    def __init__(self, seed: int):
        self._key = jax.random.key(seed)
        self._drawn = 0

    def params(self) -> Array:
        self._drawn += 1
        return jax.random.fold_in(self._key, self._drawn - 1)


def freeze(module: Module) -> Module:
    """Turn the trained parameters of `module`, in place, into frozen ones."""
    for _, part in nnx.iter_modules(module):
        for name, value in list(vars(part).items()):
            if isinstance(value, nnx.Param):
                setattr(part, name, Frozen(value[...]))
    return module


def split_trained(module: nnx.Module) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """`(graphdef, trained, rest)`; `nnx.merge` of the three is the module again.

    `rest` holds frozen weights, batch-norm statistics and stored constants. A loss is
    differentiated with respect to `trained` alone.
    """
    graphdef, trained, rest = nnx.split(module, nnx.Param, ...)
    return graphdef, trained, rest


def parameter_table(module: nnx.Module) -> list[Parameter]:
    """Every array of `module` by its dotted path, in the order of the paths."""
    _, trained, rest = split_trained(module)
    rows = [
        Parameter(".".join(map(str, path)), leaf.shape, leaf.size, is_trained)
        for state, is_trained in ((trained, True), (rest, False))
        for path, leaf in nnx.to_flat_state(state)
    ]
    return sorted(rows)
