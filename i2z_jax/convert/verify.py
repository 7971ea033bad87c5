# SPDX-License-Identifier: Apache-2.0
"""Compares a converted module with PyTorch on random input.

The PyTorch side is `torch_reference/`, written from the architectures' descriptions
and filled with the checkpoint's own tensors, so that a wrong axis, a wrong epsilon or
a wrong order of layers shows up as the first stage whose error is large.
"""

from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from i2z_jax.convert.convert import Converted
from i2z_jax.errors import InputError


class StageError(NamedTuple):
    """How far one stage of our network is from PyTorch's.

    Attributes:
        scale: largest absolute value of the reference.
        max_abs: largest absolute difference.
        relative: `max_abs / scale`.
    """

    stage: str
    shape: tuple[int, ...]
    scale: float
    max_abs: float
    relative: float


def verify(converted: Converted, *, seed: int = 0) -> list[StageError]:
    """Error of every stage, in data-flow order.

    Raises:
        InputError: PyTorch is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise InputError(
            "--verify runs the PyTorch network and PyTorch is not installed",
            fix="pip install '.[torch]' in a checkout",
        ) from error
    family, config = converted.family, converted.card.config
    inputs = family.sample(config, np.random.default_rng(seed))
    expected = family.reference(config, converted.tensors, inputs)
    graph, state = nnx.split(converted.module)
    run = jax.jit(lambda state, x: family.stages(nnx.merge(graph, state), x))
    ours = run(state, inputs)
    return [
        _compare(stage, np.asarray(ours[stage]), reference)
        for stage, reference in expected.items()
    ]


def _compare(stage: str, ours: np.ndarray, reference: np.ndarray) -> StageError:
    if ours.shape != reference.shape:
        return StageError(stage, ours.shape, np.nan, np.inf, np.inf)
    scale = float(np.abs(reference).max())
    error = float(np.abs(ours.astype(np.float64) - reference).max())
    # A stage that is zero or not finite throughout proves nothing: it must not pass.
    proves = np.isfinite(error) and scale > 0
    return StageError(
        stage, ours.shape, scale, error, error / scale if proves else np.inf
    )
