# SPDX-License-Identifier: Apache-2.0
"""The device that is measured on: what it is, and its two rates.

Rates are measured, not read off a data sheet: the best of several large matrix
products, and of several passes that read an array and write it. On a CPU they are per
processor second, so that other work on the same cores does not lower them.
"""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

LIBRARIES = ("jax", "jaxlib", "flax", "torch", "numpy")


class Rates(NamedTuple):
    """Per second of the device; of one thread's processor time on a CPU."""

    flops: float
    bytes: float


def measure_rates(dtype: DTypeLike) -> Rates:
    """Matrix products in `dtype`, and copies.

    Args:
        dtype: what the networks compute in.
    """
    on_cpu = jax.default_backend() == "cpu"
    side, size = (1536, 2**25) if on_cpu else (8192, 2**28)
    # Random: products of constants switch fewer transistors, and run faster.
    square = jax.random.normal(jax.random.key(0), (side, side), dtype)
    multiply = jax.jit(lambda x: x @ x)
    # In place: a fresh array of this size would measure the kernel's page faults.
    halve = jax.jit(lambda x: x * 0.5, donate_argnums=0)
    long = [jnp.ones(size, jnp.float32)]

    def copy() -> jax.Array:
        long[0] = halve(long[0])
        return long[0]

    clock = time.process_time if on_cpu else time.perf_counter
    return Rates(
        2 * side**3 / _best(lambda: multiply(square), clock),
        2 * 4 * size / _best(copy, clock),
    )


def describe() -> dict[str, Any]:
    """Machine and versions, for the record."""
    found: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _best(call: Callable[[], jax.Array], clock: Callable[[], float]) -> float:
    seconds = []
    for _ in range(8):
        start = clock()
        jax.block_until_ready(call())
        seconds.append(clock() - start)
    return min(seconds[1:])  # the first compiles


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()
