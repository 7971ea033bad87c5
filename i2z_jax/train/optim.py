# SPDX-License-Identifier: Apache-2.0
"""Optimiser as data: AdamW, warm-up, decay, clipping."""

from dataclasses import dataclass
from typing import Literal

import optax

from i2z_jax.train.packing import are_kernels


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a warmed-up schedule; the defaults train `paper` regression."""

    # Peak step size, reached after the warm-up.
    learning_rate: float = 3e-4
    # Steps of linear warm-up from zero.
    warmup_steps: int = 200
    # Shape after the warm-up: to zero along a cosine, down in steps, or level.
    decay: Literal["cosine", "step", "none"] = "cosine"
    # For decay `step`: steps of training between two drops.
    decay_steps: int = 1000
    # For decay `step`: factor of each drop.
    decay_rate: float = 0.95
    # Decoupled weight decay, on kernels only.
    weight_decay: float = 0.0
    # Largest global norm of the gradient; longer ones are scaled down to it.
    clip_norm: float = 1.0
    # How much of the mean gradient is kept each step.
    beta1: float = 0.9
    # How much of the mean squared gradient is kept each step.
    beta2: float = 0.999


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """The step size of every step of a run of `steps`."""
    warmup = min(config.warmup_steps, steps // 2)
    match config.decay:
        case "cosine":
            after = optax.cosine_decay_schedule(config.learning_rate, steps - warmup)
        case "step":
            after = optax.exponential_decay(
                config.learning_rate,
                config.decay_steps,
                config.decay_rate,
                staircase=True,
            )
        case "none":
            after = optax.constant_schedule(config.learning_rate)
    # (k + 1) / (warmup + 1): the very first step already learns.
    rise = optax.linear_schedule(
        config.learning_rate / (warmup + 1), config.learning_rate, warmup
    )
    return optax.join_schedules([rise, after], [warmup])


def build_optimizer(
    config: OptimizerConfig, steps: int
) -> optax.GradientTransformation:
    """The transformation that `train_step` applies to packed trees (`packing.py`).

    Args:
        steps: of the whole run, for the schedule.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate(config, steps),
            b1=config.beta1,
            b2=config.beta2,
            weight_decay=config.weight_decay,
            mask=are_kernels,
        ),
    )
