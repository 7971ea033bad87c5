# SPDX-License-Identifier: Apache-2.0
"""`i2z doctor`: what this machine has, and what to install for what is missing."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rich.table import Table

from i2z_jax import __version__, compile_cache, console
from i2z_jax.wording import counted

LIBRARIES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "numpy",
    "opencv-python-headless",
    "av",
)
EXTRAS = {"torch": "torch", "usd": "usd-core", "test": "pytest", "dev": "ruff"}


@dataclass(frozen=True)
class Config:
    """Report python, jax, devices, mesh, memory and extras of this machine."""


def run(config: Config) -> None:
    """Print the report. It never fails on a missing extra: it says what to install."""
    import jax  # starts the backends: seconds, so not at import

    from i2z_jax.sharding import create_mesh

    table = Table.grid(padding=(0, 2))
    table.add_row("i2z_jax", __version__)
    table.add_row("python", f"{sys.version.split()[0]} ({platform.platform()})")
    for name in LIBRARIES:
        table.add_row(name, _version(name) or f"missing: {_install()}")
    table.add_row("backend", jax.default_backend())
    for device in jax.devices():
        ours = device.process_index == jax.process_index()
        memory = _memory(device) if ours else f", of process {device.process_index}"
        table.add_row("device", f"{device} ({device.device_kind}){memory}")
    if jax.default_backend() == "cpu" and shutil.which("nvidia-smi"):
        missing = f"a GPU is here but jax does not use it: {_install('cuda')}"
        table.add_row("", missing)
    axes = create_mesh().shape.items()
    table.add_row("mesh", ", ".join(f"{name} {size}" for name, size in axes))
    table.add_row("processes", f"{jax.process_count()}")
    table.add_row(
        "host", f"{counted(os.cpu_count() or 1, 'core')}, {_host_memory_gib():.1f} GiB"
    )
    table.add_row("compile cache", compile_cache.describe(os.environ))
    for extra, package in EXTRAS.items():
        found = _version(package)
        table.add_row(
            f"extra [{extra}]",
            f"{package} {found}" if found else _install(extra),
        )
    console.out.print(table)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _install(extra: str = "") -> str:
    """How; no registry has the package."""
    what = f"'.[{extra}]'" if extra else "."
    return f"pip install {what} in a checkout"


def _memory(device) -> str:
    stats = device.memory_stats() or {}
    limit = stats.get("bytes_limit")
    return f", {limit / 2**30:.1f} GiB" if limit else ""


def _host_memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
