# SPDX-License-Identifier: Apache-2.0
"""XLA's options that depend on its release: one it does not know ends the process."""

from collections.abc import MutableMapping
from importlib.metadata import version

# What YNNPACK may compute of a program on a CPU. jaxlib 0.11 also gives it chains of
# element-wise operations and reductions, and of a VGG in bfloat16 these come out as
# noise, with maps of 1e38.
_FUSIONS = "--xla_cpu_experimental_ynn_fusion_type"
_INDIVIDUAL = (
    "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
)


def fast_compile_flags() -> tuple[str, ...]:
    """XLA's older emitters of fused loops on a CPU, where it still has them.

    They compile faster.
    """
    return () if _is_0_11_or_later() else ("--xla_cpu_use_fusion_emitters=false",)


def correctness_flags() -> tuple[str, ...]:
    """Flags that avoid wrong results on a CPU."""
    return (f"{_FUSIONS}={_INDIVIDUAL}",) if _is_0_11_or_later() else ()


def add_correctness_flags(environment: MutableMapping[str, str]) -> None:
    """Add `correctness_flags` to `XLA_FLAGS`; call before JAX starts.

    A user's own choice of fusions stays.
    """
    given = environment.get("XLA_FLAGS", "")
    if correctness_flags() and _FUSIONS not in given:
        environment["XLA_FLAGS"] = " ".join([given, *correctness_flags()]).strip()


def _is_0_11_or_later() -> bool:
    major, minor = map(int, version("jaxlib").split(".")[:2])
    return (major, minor) >= (0, 11)
