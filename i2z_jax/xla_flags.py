# SPDX-License-Identifier: Apache-2.0
"""XLA's options that a release may no longer know: an unknown one ends the process."""

from importlib.metadata import version


def older_fusion_emitters() -> tuple[str, ...]:
    """XLA's older emitters of fused loops on a CPU, quicker to compile, where it has
    them: before jaxlib 0.11.
    """
    major, minor = map(int, version("jaxlib").split(".")[:2])
    return ("--xla_cpu_use_fusion_emitters=false",) if (major, minor) < (0, 11) else ()
