# SPDX-License-Identifier: Apache-2.0
"""Configures glibc malloc to keep freed memory in the process.

XLA allocates a step's buffers on a CPU with `malloc` and frees them after it. glibc
returns large buffers to the kernel at once, and the kernel clears all of their pages in
the next step: a third of a `paper` step's time (docs/notes/performance.md). With the
memory kept, the process stays as large as at its peak until it ends. Accelerators have
an allocator of their own, and many threads that make batches beside it: nothing is
changed for them.
"""

import ctypes
from collections.abc import Mapping
from importlib.util import find_spec

# <malloc.h>: parameters of mallopt.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
# Variables by which a user configures malloc.
CHOICES = ("MALLOC_", "GLIBC_TUNABLES")
# Packages that provide an accelerator backend.
PLUGINS = ("jax_plugins", "libtpu")


def keep_freed_memory(environment: Mapping[str, str]) -> None:
    """Call before there are threads: those that exist have their own arenas already.

    Does nothing if the user configures malloc, if JAX may run on an accelerator, or if
    the C library is not glibc.
    """
    if any(name.startswith(CHOICES) for name in environment):
        return
    on_cpu = environment.get("JAX_PLATFORMS") == "cpu"
    if not on_cpu and any(find_spec(name) for name in PLUGINS):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(MMAP_MAX, 0)  # all from the heap,
    mallopt(ARENA_MAX, 1)  # the one that large buffers fit in,
    mallopt(TRIM_THRESHOLD, -1)  # which never shrinks
