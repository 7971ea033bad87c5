# SPDX-License-Identifier: Apache-2.0
"""Enables JAX's persistent compilation cache.

A step takes from seconds (`tiny`) to minutes (`paper` on a CPU) to compile, and the
same command compiles the same program each time; every `i2z` command keeps it. JAX's
own variables apply: `JAX_COMPILATION_CACHE_DIR` is another folder (empty: none),
`JAX_ENABLE_COMPILATION_CACHE=false` switches the cache off.
"""

import sys
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from i2z_jax.wording import counted

PLACE, ENABLED = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
LEAST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
# What JAX takes for no.
NO = {"n", "no", "f", "false", "off", "0"}


def enable(environment: MutableMapping[str, str]) -> None:
    """Set the cache directory; call before JAX is imported.

    Nothing happens where the user chose a place, or where ours cannot be written.
    """
    place = folder(environment)
    if place is None or PLACE in environment or "jax" in sys.modules:
        return
    if is_writable(place):
        environment[PLACE] = str(place)
        # Half a second is worth keeping: a command compiles dozens of such.
        environment.setdefault(LEAST, "0.5")


def folder(environment: Mapping[str, str]) -> Path | None:
    """Where programs are kept: the user's cache folder (XDG); None if nowhere."""
    if environment.get(ENABLED, "").lower() in NO:
        return None
    if PLACE in environment:
        return Path(environment[PLACE]) if environment[PLACE] else None
    base = Path(environment.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # XDG: a relative one is to be ignored
        if not (home := environment.get("HOME")):
            return None
        base = Path(home) / ".cache"
    return base / "i2z_jax" / "programs"


def is_writable(place: Path) -> bool:
    """Whether a file can be made there; the folder is."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def describe(environment: Mapping[str, str]) -> str:
    """The cache in a line, for `i2z doctor`."""
    place = folder(environment)
    if place is None:
        return f"off ({PLACE}, {ENABLED})"
    if not is_writable(place):
        return f"off: {place} cannot be written; set {PLACE}"
    files = [path.stat().st_size for path in place.glob("*-cache")]
    return f"{place}: {counted(len(files), 'program')}, {sum(files) / 2**20:.0f} MiB"
