# SPDX-License-Identifier: Apache-2.0
"""A regression step against its PyTorch peer, which must compute the same first."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.device import Rates
from benchmarks.measure import Contender, Row, race, training
from benchmarks.networks import random_batch, random_networks
from benchmarks.suite import Options
from i2z_jax.objectives.regress import RegressWeights
from i2z_jax.train.optim import OptimizerConfig, build_optimizer
from i2z_jax.train.stages import regress_stage
from i2z_jax.train.state import TrainState

# Largest relative difference of loss and of each of its terms before and after an
# update. bfloat16 rounds at 2^-8, and Adam's first update is the sign of the gradient,
# whatever its size: what rounding turned counts in full.
TOLERANCE = {"float32": (1e-4, 1e-4), "bfloat16": (3e-2, 1e-1)}
# Of the gradient's norm: units near zero are on in one sum and off in another.
GRADIENT = {"float32": 2e-3, "bfloat16": 0.6}
OPTIMIZER = OptimizerConfig(warmup_steps=0, decay="none")


def measure(options: Options, rates: Rates) -> Iterator[Row]:
    """The step for each batch size; PyTorch plain and compiled."""
    networks = random_networks(options.sizes, jnp.dtype(options.dtype))
    t = options.sizes.dam.texture_size
    stage = regress_stage(
        networks.net,
        networks.dam,
        weights=RegressWeights(),
        texel_weight=jnp.ones((t, t)),
        image_size=options.sizes.i2z.image_size,
    )
    optimizer = build_optimizer(OPTIMIZER, 10_000)
    for size in options.batches("regress"):
        host = random_batch(options.sizes, size)
        batch = jax.device_put(host)
        # A copy, because the step is given its state.
        params = jax.tree.map(jnp.array, stage.params)
        state = TrainState.create(params, stage.stats, optimizer)
        ours = training(stage.objective, state, stage.frozen, batch, optimizer)
        contenders = {"i2z_jax": ours}
        if options.peer:
            contenders |= _peers(options, networks, host, ours.call)
        yield from race("regress", options.case(size), contenders, options, rates, size)


def _peers(options: Options, networks, host, ours) -> dict[str, Contender]:
    from benchmarks.torch_peer import Peer, forms

    found = {}
    expected = [_numbers(ours()) for _ in range(2)]
    for name, compile_it in forms().items():
        peer = Peer(networks, options.sizes, compiled=compile_it, dtype=options.dtype)
        batch = peer.batch(host)
        for step, tolerance in zip(expected, TOLERANCE[options.dtype], strict=True):
            theirs = _numbers(peer.step(batch))
            check_equal(step, theirs, tolerance, gradient=GRADIENT[options.dtype])
        found[name] = Contender(partial(peer.step, batch))
    return found


def check_equal(
    ours: Mapping[str, float],
    theirs: Mapping[str, float],
    tolerance: float,
    *,
    gradient: float,
) -> None:
    """Refuse to time two things that are not the same.

    Raises:
        ValueError: a number of `theirs` differs by more than `tolerance`, relatively;
            the gradient's norm by more than `gradient`.
    """
    for name, value in theirs.items():
        difference = abs(ours[name] - value) / max(abs(value), 1e-12)
        most = gradient if name == "grad_norm" else tolerance
        if not difference <= most:
            raise ValueError(
                f"not timed: {name} is {ours[name]:g} here and {value:g} in PyTorch, "
                f"{difference:.1e} apart; tolerance {most:g}"
            )


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}
