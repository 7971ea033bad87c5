# SPDX-License-Identifier: Apache-2.0
"""The folder in which a run keeps what it has found.

    OUT/work               of the run that OUT has the results of, or the first one
    OUT/work.new           of one that starts anew, until it has results

    WORK/settings.json     a run with others does not go on from here
    WORK/faces-00000.npz   what the detector saw in the first frames, and so on
    WORK/scan.npz          first pass
    WORK/places.npz        second pass
    WORK/rows-00000.npz    what the network said of the first frames, and so on

A run has begun where there are settings: they are written first and removed first, so
that what a kill leaves without them is no run.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from i2z_jax.errors import InputError
from i2z_jax.lock import LOCK, locked
from i2z_jax.settings import remember

SETTINGS, SCAN, PLACES = "settings.json", "scan.npz", "places.npz"
# Names of what the first and the last pass have done (`RowFiles`).
FACES, ROWS = "faces", "rows"
# Settings that are of what lies under the name in another.
STATES = {
    "video_file": "video",
    "boxes_file": "boxes",
    "checkpoint_changed": "checkpoint",
}


@contextmanager
def hold(out: Path) -> Iterator[None]:
    """Keep a second run out of the folder of the results, which goes if it is new and
    stays empty.

    Raises:
        InputError: another run is at work here, or the folder cannot be written.
    """
    is_new = not out.exists()
    with locked(out, busy="another run is tracking here", option="--out"):
        try:
            yield
        finally:
            (out / LOCK).unlink(missing_ok=True)
            if is_new and not any(out.iterdir()):
                out.rmdir()


def has_begun(out: Path) -> bool:
    """Whether a run can be gone on with; it may have ended."""
    return _is_run(_settled(out)) or _is_run(_new(out))


def choose(out: Path, anew: bool) -> Path:
    """The folder to begin in, or to go on in. A run that starts anew leaves the one
    whose results are there, and takes the place of another without results."""
    if anew:
        _clear(_new(out))
    return _new(out) if anew or _is_run(_new(out)) else _settled(out)


def begin(work: Path, settings: dict[str, Any]) -> None:
    """Make the folder of a run, or see that it is one with the same settings.

    Raises:
        InputError: the folder holds a run with other settings.
    """
    try:
        differ = remember(work / SETTINGS, settings)
    except InputError:
        if not _is_run(work):  # the disk is full: leave no empty folder in the way
            _clear(work)
        raise
    if differ:
        # Once of each file: by its name or, where that is the same, by what is in it.
        edited = [
            f"{name} edited since"
            for state, name in STATES.items()
            if differ.pop(state, None) and name not in differ
        ]
        others = [f"{n} was {old!r}, is {new!r}" for n, (old, new) in differ.items()]
        raise InputError(
            f"a run is here that was started differently: {'; '.join(others + edited)}",
            where=work.parent,
            fix="give what it had, or --overwrite to start anew",
        )


def settle(out: Path) -> None:
    """A new run has results: it takes the place of the one before."""
    if _is_run(_new(out)):
        _clear(_settled(out))
        # Where a file of somebody else's keeps that folder, it is found as it lies.
        if not _settled(out).exists():
            os.replace(_new(out), _settled(out))


def abandon(work: Path) -> None:
    """Remove the folder of a run that finished no frame."""
    if not any(work.glob(_parts(ROWS))):
        _clear(work)


def _settled(out: Path) -> Path:
    return out / "work"


def _new(out: Path) -> Path:
    return out / "work.new"


def _is_run(work: Path) -> bool:
    return (work / SETTINGS).exists()


def _clear(work: Path) -> None:
    """Remove a run's own files."""
    if work.is_dir():
        for files in (SETTINGS, SCAN, PLACES, *map(_parts, (FACES, ROWS))):
            for path in list(work.glob(files)):
                path.unlink()
        if not any(work.iterdir()):
            work.rmdir()


def _parts(name: str) -> str:
    return f"{name}-*.npz"
