# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks run [NAME ...]` on this machine; `... scale` on paper."""

import os
import sys
from typing import Annotated

import tyro

from benchmarks import suite
from i2z_jax import malloc, xla_flags
from i2z_jax.errors import InputError


def run(
    options: Annotated[suite.Options, tyro.conf.arg(name="")],
    names: tyro.conf.Positional[tuple[str, ...]] = (),
) -> None:
    """Measure subjects of the suite; without a name, all of them.

    Args:
        names: conversion, forward, regress, adapt, decode, rasterise, unwrap,
            pipeline, track.
    """
    suite.run(names, options)


def scale(
    stage: str = "regress",
    preset: str = "paper",
    rows: int = 128,
    devices: int = 8,
    fsdp: int = 1,
    reached: float = 0.2,
) -> None:
    """A training step on paper, for 1 to 1024 devices.

    Args:
        stage: landmarks, dam, regress or adapt.
        preset: its sizes.
        rows: its examples on each device.
        devices: simulated ones it compiles the step for; 0: it counts without.
        fsdp: of these, how many share the large kernels.
        reached: share of a machine's matrix rate that a step reaches; the default was
            measured (docs/benchmarks.md).
    """
    from benchmarks import scale

    scale.report(
        stage, preset=preset, rows=rows, devices=devices, fsdp=fsdp, reached=reached
    )


if __name__ == "__main__":
    malloc.keep_freed_memory(os.environ)
    xla_flags.add_correctness_flags(os.environ)
    try:
        tyro.extras.subcommand_cli_from_dict({"run": run, "scale": scale})
    except InputError as error:
        sys.exit(f"benchmarks: {error}")
