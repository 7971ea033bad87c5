# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from i2z_jax.errors import InputError

LOCK = ".lock"


@contextmanager
def locked(folder: Path, *, busy: str, option: str) -> Iterator[None]:
    """Keep a second run out of a folder, which is made. The lock goes with the process,
    even killed; its file stays.

    Args:
        folder: of the run.
        busy: what the error says of the run that is there.
        option: the one that names another folder.

    Raises:
        InputError: another run is here, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise InputError(
            f"cannot write here ({error.strerror})", where=folder
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                busy, where=folder, fix=f"wait for it, or choose another {option}"
            ) from error
        yield
