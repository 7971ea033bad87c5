# SPDX-License-Identifier: Apache-2.0
"""Freed memory is used again, unless the user has a word in it."""

import os
import platform
from types import SimpleNamespace

import pytest

from i2z_jax import malloc
from tests.processes import finish, start

# Pages that the kernel had to clear for forty results of 64 MiB, after two first ones.
PROGRAM = """
import os, resource
from i2z_jax import malloc
malloc.keep_freed_memory(os.environ)
import jax, jax.numpy as jnp
fill = jax.jit(lambda x: jnp.full((4096, 4096), x))
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(42):
    if turn == 2:
        before = faults()
    jax.block_until_ready(fill(float(turn)))
print(faults() - before)
"""
PAGES = 2**26 // os.sysconf("SC_PAGE_SIZE")


def cleared(**environment: str) -> int:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    kept |= {"JAX_PLATFORMS": "cpu"} | environment
    said, _ = finish(start("-c", PROGRAM, environment=kept))
    return int(said)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
def test_a_step_gets_the_memory_of_the_one_before():
    # A few more than the first may be alive at a time, when JAX frees them late.
    assert cleared() < 10 * PAGES
    # What the user set is left alone, and glibc by itself clears all forty.
    assert cleared(MALLOC_MMAP_THRESHOLD_="131072") > 30 * PAGES


@pytest.mark.parametrize(
    ("environment", "plugin", "calls"),
    [({}, False, 3), ({}, True, 0), ({"JAX_PLATFORMS": "cpu"}, True, 3)],
)
def test_only_on_cpus(environment, plugin, calls, monkeypatch):
    said = []
    libc = SimpleNamespace(mallopt=lambda *parameter: said.append(parameter))
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda name: libc)
    monkeypatch.setattr(malloc, "find_spec", lambda name: plugin or None)
    malloc.keep_freed_memory(environment)
    assert len(said) == calls


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda name: object())
    malloc.keep_freed_memory({"JAX_PLATFORMS": "cpu"})
