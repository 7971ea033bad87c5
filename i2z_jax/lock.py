# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from i2z_jax.errors import InputError
from i2z_jax.files import make_folder, writing

LOCK = ".lock"


@contextmanager
def locked(folder: Path, *, busy: str, option: str) -> Iterator[None]:
    """Keep a second run out of a folder, which is made.

    The lock goes with the process, even killed. Its file may be removed by the run that
    holds it.

    Args:
        folder: of the run.
        busy: what the error says of the run that is there.
        option: the one that names another folder.

    Raises:
        InputError: another run is here, or the folder cannot be written or locked.
    """
    make_folder(folder)
    with writing(folder):
        lock = (folder / LOCK).open("w")
    with lock:
        try:
            ours = _is_ours(lock, folder / LOCK)
        except OSError as error:
            raise InputError(
                f"cannot be locked ({error.strerror})",
                where=folder,
                fix=f"choose {option} on a file system with locks (Lustre: one that is "
                "mounted with flock)",
            ) from error
        if not ours:
            raise InputError(
                busy, where=folder, fix=f"wait for it, or choose another {option}"
            )
        yield


def _is_ours(lock: TextIO, path: Path) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Not one that its last holder removed since it was opened: a third run would
        # make and lock another.
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
