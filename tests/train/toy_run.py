# SPDX-License-Identifier: Apache-2.0
"""A run small enough to be killed often: `python toy_run.py WORKDIR [options]`."""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from i2z_jax.errors import InputError
from i2z_jax.train.loop import LoopConfig, run_loop
from i2z_jax.train.state import TrainState
from i2z_jax.train.step import train_step
from i2z_jax.train.workdir import hold


class Counting:
    """Batches that are a function of their position."""

    def __init__(self, options):
        self.next, self.options = 0, options

    def __next__(self):
        rng = np.random.default_rng(self.next)
        first = self.options.nan_from
        bad = first is not None and first <= self.next < first + self.options.nan_steps
        self.next += 1
        (self.options.workdir / "drawn").touch()
        time.sleep(0.05 if self.options.slow else 0)
        return np.float32(rng.normal(size=(4, 3))) * (np.nan if bad else 1)

    def get_state(self):
        return {"next": self.next}

    def set_state(self, state):
        self.next = state["next"]


def objective(params, stats, frozen, batch, key):
    noise = jax.random.normal(key, params.shape)
    return jnp.mean((batch @ (params + 0.1 * noise) - 1) ** 2), ({}, stats)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--nan-from", type=int)
    parser.add_argument("--nan-steps", type=int, default=10**9)
    options = parser.parse_args()
    optimizer = optax.adam(1e-2)
    with hold(options.workdir):
        try:
            state = run_loop(
                TrainState.create(jnp.ones(3), {}, optimizer),
                {},
                step=partial(
                    train_step, objective=objective, optimizer=optimizer, seed=1
                ),
                batches=Counting(options),
                put=jnp.asarray,
                workdir=options.workdir,
                config=LoopConfig(steps=60, log_every=5, save_every=7, bad_steps=10),
                batch_size=4,
            )
        except InputError as error:
            sys.exit(str(error))
    final = {"params": np.float64(state.params).tolist(), "skipped": int(state.skipped)}
    print(json.dumps(final))


if __name__ == "__main__":
    main()
