# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder, also when the one before is just ending."""

import errno
import fcntl
import os

import pytest

from i2z_jax.errors import InputError
from i2z_jax.lock import LOCK, locked


def hold(folder):
    return locked(folder, busy="another run is here", option="--out")


def test_a_second_run_is_kept_out_until_the_first_ends(tmp_path):
    folder = tmp_path / "new"
    with hold(folder), pytest.raises(InputError, match="another run is here"):
        hold(folder).__enter__()
    with hold(folder):
        pass


def test_a_file_in_the_folder_s_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: is a file \(expected a folder\)"):
        hold(tmp_path / "file").__enter__()


@pytest.mark.parametrize("made_again", [False, True])
def test_a_lock_that_was_removed_meanwhile_is_none(tmp_path, monkeypatch, made_again):
    """Between opening and locking, the last run removes its lock and ends; a third
    run may have made another."""
    flock = fcntl.flock

    def late(file, how):
        (tmp_path / LOCK).unlink()
        if made_again:
            (tmp_path / LOCK).touch()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(InputError, match="another run is here"):
        hold(tmp_path).__enter__()


def test_a_file_system_without_locks_is_a_clear_line(tmp_path, monkeypatch):
    def without(file, how):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", without)
    with pytest.raises(InputError, match=r"cannot be locked \(Function .*--out on a"):
        hold(tmp_path).__enter__()
