# SPDX-License-Identifier: Apache-2.0
"""A run small enough to be killed often: `toy_run WORKDIR [options]`."""

import argparse
import json
import logging
import os
import resource
import signal
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from i2z_jax.checkpoint import RunCheckpoints
from i2z_jax.errors import InputError
from i2z_jax.train.loop import Hooks, LoopConfig, abstract, run_loop
from i2z_jax.train.state import TrainState
from i2z_jax.train.step import train_step
from i2z_jax.train.workdir import CHECKPOINTS, hold


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
    noise = jax.random.normal(key, params["w"].shape)
    error = jnp.mean((batch @ (params["w"] + 0.1 * noise) - 1) ** 2)
    return error + jnp.sum(params["ballast"]), ({}, stats)


def far_from(target, options, state, done):
    """Least somewhere in the middle of the run, on the way of the first parameter."""
    if done == options.die_in_evaluation:
        while not (options.workdir / CHECKPOINTS / str(done)).exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return {"distance": abs(float(state.params["w"][0]) - target)}


def die_in_save(number):
    """As `kill -9` would, while the checkpoint `number` of this process is written."""
    real = RunCheckpoints.save
    saves = []

    def save(self, step, *arguments, **keywords):
        real(self, step, *arguments, **keywords)
        saves.append(step)
        if len(saves) == number:
            assert self._checkpointer.is_saving_in_progress()
            os.kill(os.getpid(), signal.SIGKILL)

    RunCheckpoints.save = save  # pyrefly: ignore


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--nan-from", type=int)
    parser.add_argument("--nan-steps", type=int, default=10**9)
    parser.add_argument("--die-in-save", type=int, default=0)
    parser.add_argument("--die-in-evaluation", type=int)
    parser.add_argument("--largest-file", type=int, default=resource.RLIM_INFINITY)
    parser.add_argument("--profile", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # as `i2z` does
    die_in_save(options.die_in_save)
    # Written files that outgrow it fail as on a full disk.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (options.largest_file, resource.RLIM_INFINITY)
    )
    optimizer = optax.adam(1e-2)
    ballast = jax.random.normal(jax.random.key(0), (64, 64))
    state = TrainState.create(
        {"w": jnp.ones(3), "ballast": 0 * ballast + ballast}, {}, optimizer
    )
    shapes = abstract(state)
    with hold(options.workdir):
        try:
            state = run_loop(
                state,
                {},
                step=partial(
                    train_step, objective=objective, optimizer=optimizer, seed=1
                ),
                batches=Counting(options),
                put=jnp.asarray,
                workdir=options.workdir,
                config=LoopConfig(
                    steps=60, log_every=5, save_every=7, bad_steps=10,
                    evaluate_every=4, best="eval/distance",
                    profile_steps=options.profile,
                ),
                batch_size=4,
                hooks=Hooks(evaluate=partial(far_from, 0.75, options)),
            )  # fmt: skip
        except InputError as error:
            sys.exit(str(error))
    checkpoints = RunCheckpoints(options.workdir / CHECKPOINTS)
    best = checkpoints.restore_best(shapes)
    final = {
        "params": np.float64(state.params["w"]).tolist(),
        "skipped": int(state.skipped),
        "best": best and [best.step, np.float64(best.state.params["w"]).tolist()],
        "on disk": [int(p.name) for p in sorted(options.workdir.glob("check*/[0-9]*"))],
    }
    print(json.dumps(final))


if __name__ == "__main__":
    main()
