# SPDX-License-Identifier: Apache-2.0
"""Flags for XLA: most of a test's time is compiling programs that run a few times."""

import os

from i2z_jax.xla_flags import correctness_flags, fast_compile_flags

# Two to four times quicker to compile than at optimisation 1. What XLA writes itself
# runs slower; products and convolutions are a library's, and as fast as ever.
CHEAP = " ".join(
    [
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        *fast_compile_flags(),
        *correctness_flags(),
    ]
)


def simulated(devices: int) -> dict[str, str]:
    """The environment of a process that has so many devices."""
    count = f"--xla_force_host_platform_device_count={devices}"
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{CHEAP} {count}"}
