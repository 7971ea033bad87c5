# SPDX-License-Identifier: Apache-2.0
"""Text and arrays that are read, and output that never looks whole before it is."""

import errno
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from i2z_jax.errors import InputError

# What stops a write that had begun: the disk, a quota or the largest file is reached.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Say of which file it is that something cannot be read.

    Raises:
        InputError: for an OSError: missing, no permission, a loop of links.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read ({error.strerror})", where=path) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which place it is that nothing can be written to.

    Raises:
        InputError: for an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write here ({error.strerror})", where=path) from error


def read_text(path: str | Path) -> str:
    """A text file that was given, UTF-8.

    Raises:
        InputError: it cannot be read, or is in another encoding or no text.
    """
    try:
        with reading(path):
            return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "not a text file", where=path, expected="UTF-8", got=error.reason
        ) from error


def read_bytes(path: str | Path) -> bytes:
    """A file that was given.

    Raises:
        InputError: it cannot be read: missing, no permission, a loop of links.
    """
    with reading(path):
        return Path(path).read_bytes()


def open_npz(path: str | Path) -> np.lib.npyio.NpzFile:
    """Open an .npz lazily, with pickles disabled.

    Raises:
        ValueError: no .npz, of whatever numpy or the zip runs into.
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        file.read(1)  # `is_zipfile` takes a disk that cannot be read for another file
        if not zipfile.is_zipfile(file):
            # What numpy says of other files is about pickles.
            raise ValueError("no .npz file")
    return np.load(path, allow_pickle=False)


def require_folder(path: Path, expected: str = "a folder") -> None:
    """Refuse what is no folder.

    Raises:
        InputError: a file is there, or nothing.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "no such folder"
        raise InputError(what, where=path, expected=expected)


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there, and those that it is in.

    Raises:
        InputError: a file is there, or it cannot be made.
    """
    with writing(folder):
        if folder.exists():
            require_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)


def make_writable(folder: Path) -> None:
    """Make a folder, and see whether a file can be made in it.

    Raises:
        InputError: it cannot.
    """
    make_folder(folder)
    with writing(folder):
        tempfile.TemporaryFile(dir=folder).close()


def make_place(path: Path) -> None:
    """Check before long work that `path` can be written, and make its folder.

    Raises:
        InputError: it cannot.
    """
    if path.is_dir():
        raise InputError("is a folder", where=path, expected="a file to write")
    _refuse_devices(path)
    make_writable(path.parent)


def named(path: Path) -> Path:
    """The path, absolute if its last part is no name: `.` and `..`."""
    return path if path.name not in ("", "..") else path.resolve()


def visible(folder: Path) -> list[Path]:
    """Non-hidden entries of a folder, sorted.

    `._NAME`, which macOS leaves beside NAME on other disks, ends as a picture does and
    is none.
    """
    return sorted(p for p in folder.iterdir() if not p.name.startswith("."))


def versions(*paths: Path | None) -> list[tuple[int, int] | None]:
    """(size, mtime in ns) of each file, None where missing; edited files differ."""
    return [_version(path) if path else None for path in paths]


def _version(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@contextmanager
def write_aside(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A place beside `path` to write to; renamed to `path` on success only.

    The caller creates a file or a folder at the yielded path. On an exception
    what was written is removed and `path` is as it was before. A symbolic link stays
    one: what it leads to is written.

    Args:
        path: the file or folder to create; its parents are made.
        overwrite: replace what is there; otherwise an existing path is refused.

    Raises:
        InputError: `path` exists and `overwrite` is off, or is the current folder, a
            device or a pipe, or cannot be written, or not wholly: the disk is full.
    """
    path = Path(path)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if path.is_dir() and path.samefile(os.curdir):
        # A shell that stands in it would stay in the one that is replaced.
        raise InputError("is the current folder", where=path, fix="name one in it")
    _refuse_devices(path)
    if not overwrite and path.exists() and not _is_empty_folder(path):
        raise InputError(
            "already exists", where=path, fix="choose another path or --overwrite"
        )
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    new, old = holder / path.name, holder / f"{path.name}.old"
    try:
        yield new
        try:
            if path.is_dir() and new.is_dir():
                # A folder cannot be renamed over a full one: move that out first.
                os.rename(path, old)
            os.replace(new, path)
        except BaseException:
            if old.exists() and not path.exists():
                os.rename(old, path)
            raise
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise InputError(f"cannot write ({error.strerror})", where=path) from error
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """A file, new or replaced: whole, or as it was."""
    with write_aside(path, overwrite=True) as aside:
        aside.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, content: Any) -> None:
    """`write_bytes` of `json_text` that people can read, too."""
    write_text(path, json_text(content, indent=2) + "\n")


def json_text(content: Any, indent: int | None = None) -> str:
    """Plain values as JSON, which has no NaN and no infinite number: those are null."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def write_npz(
    path: str | Path,
    arrays: Mapping[str, Any],
    *,
    compressed: bool = False,
    overwrite: bool = True,
) -> None:
    """Arrays by name, for `open_npz`; written as by `write_aside`."""
    save = np.savez_compressed if compressed else np.savez
    with write_aside(path, overwrite=overwrite) as aside, aside.open("wb") as file:
        save(file, allow_pickle=False, **arrays)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse_devices(path: Path) -> None:
    """A file renamed to /dev/null would take its place."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError("is a device or a pipe", where=path, expected="a file")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
