# SPDX-License-Identifier: Apache-2.0
"""Programs in processes of their own. Nothing here waits without an end."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from launch import local_cluster

CHECKOUT = Path(__file__).parent.parent
# `python *I2Z WORDS` is `i2z WORDS`.
I2Z = ("-c", "from i2z_jax.commands import main; main()")
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def start(
    *words: object, environment: Mapping[str, str] | None = None
) -> subprocess.Popen:
    """Start `python WORDS` in the checkout."""
    command = [sys.executable, *map(str, words)]
    return subprocess.Popen(command, cwd=CHECKOUT, env=environment, **PIPES)


def start_cluster(
    *words: object, devices: int, processes: int = 2
) -> list[subprocess.Popen]:
    """Start `python WORDS` in the checkout as every process of a cluster."""
    sizes = {"devices": devices, "processes": processes}
    return local_cluster.start([*map(str, words)], **sizes, cwd=CHECKOUT, **PIPES)


def finish(
    process: subprocess.Popen, *, status: int = 0, within: float = 300
) -> tuple[str, str]:
    """What it has printed on stdout and stderr.

    Args:
        status: with which it must end.
        within: how long it may take until then, seconds.
    """
    try:
        out, error = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        _fail(process, f"has not ended after {within} s")
    assert process.returncode == status, out[-1000:] + error[-3000:]
    return out, error


def finish_all(
    cluster: Sequence[subprocess.Popen], *, within: float = 400
) -> list[tuple[str, str]]:
    """What each has printed on stdout and stderr; all must end with 0."""
    try:
        said = [process.communicate(timeout=within) for process in cluster]
    except subprocess.TimeoutExpired as late:
        _fail(next(p for p in cluster if p.poll() is None), str(late))
    finally:
        for process in cluster:
            process.kill()
    errors = "\n".join(error[-3000:] for _, error in said)
    assert not any(process.returncode for process in cluster), errors
    return said


def until(
    holds: Callable[[], bool],
    process: subprocess.Popen | None = None,
    *,
    within: float = 120,
) -> None:
    """Wait until `holds()`: within so many seconds, and before `process` ends."""
    end = time.monotonic() + within
    while not holds():
        if process and process.poll() is not None:
            _fail(process, "has ended before it came to it")
        if time.monotonic() > end:
            _fail(process, f"has not come to it after {within} s")
        time.sleep(0.01)


def _fail(process: subprocess.Popen | None, what: str) -> NoReturn:
    if process is None:
        pytest.fail(f"what was waited for {what}")
    process.kill()
    out, error = process.communicate()
    pytest.fail(f"{process.args} {what}:\n{out}{error}")


def is_running(pid: int) -> bool:
    """Of a process that a test did not start itself."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
