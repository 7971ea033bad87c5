# SPDX-License-Identifier: Apache-2.0
"""What a pass over a video has found so far, on the disk part by part.

    FOLDER/NAME-00000.npz   of the first frames, and so on

A pass that was interrupted goes on after the frames that are there.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from i2z_jax.files import open_npz, write_npz
from i2z_jax.types import NDArray

# Frames between two writes to the disk: what a run that is killed loses at most.
CHUNK = 256


class RowFiles:
    """Columns that grow with the frames of one pass; use it with `contextlib.closing`,
    which keeps what was added when the pass is interrupted.

    Args:
        folder: of the run.
        name: of the pass.
    """

    def __init__(self, folder: Path, name: str):
        self._folder, self._name = folder, name
        self._number = len(self._paths())
        self._added: list[dict[str, NDArray]] = []
        self._frames = 0

    def read(self) -> dict[str, NDArray]:
        """The columns that are on the disk; empty if nothing is.

        What follows a part that is missing or damaged is removed.
        """
        parts = []
        while (part := read_whole(self._path(len(parts)))) is not None:
            parts.append(part)
        # The last first: an interruption leaves no gap.
        for path in sorted(self._paths(), reverse=True):
            if path >= self._path(len(parts)):
                path.unlink()
        self._number = len(parts)
        return _joined(parts)

    def add(self, frames: int, **columns: NDArray) -> None:
        """What was found in the next frames; written when it is enough.

        Args:
            frames: how many.
            columns: rows by name, the same names each time.
        """
        self._added.append(columns)
        self._frames += frames
        if self._frames >= CHUNK:
            self.close()

    def close(self) -> None:
        """Write what was added since the last time."""
        if self._added:
            write_npz(self._path(self._number), _joined(self._added))
            # Ctrl-C just before this writes the same file again, and no frame twice.
            self._number, self._added, self._frames = self._number + 1, [], 0

    def _paths(self) -> list[Path]:
        return list(self._folder.glob(f"{self._name}-*.npz"))

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}-{number:05d}.npz"


def read_whole(path: Path) -> dict[str, NDArray] | None:
    """The arrays of a file; None if there is none, or what a power cut left of one.

    Raises:
        OSError: it cannot be read.
    """
    if not path.exists():
        return None
    try:
        with open_npz(path) as file:
            return dict(file)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _joined(parts: list[dict[str, NDArray]]) -> dict[str, NDArray]:
    names = parts[0] if parts else ()
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
