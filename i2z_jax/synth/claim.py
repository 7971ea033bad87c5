# SPDX-License-Identifier: Apache-2.0
"""A rendered folder says what it was begun with, so that it is gone on with as that."""

from collections.abc import Mapping
from pathlib import Path

from i2z_jax.errors import InputError
from i2z_jax.settings import remember


def claim(folder: Path, settings: Mapping[str, object]) -> None:
    """Mark a folder, new or empty, with all that decides its files (`synth.json`).

    Raises:
        InputError: it was begun with other settings, or holds something else, or
            cannot be written.
    """
    path = folder / "synth.json"
    if not path.exists() and folder.is_dir() and any(folder.iterdir()):
        raise InputError("already exists", where=folder, fix="choose another --out")
    if differ := remember(path, settings):
        raise InputError(
            f"begun with other options: {', '.join(differ)}",
            where=folder,
            fix="give the same ones to go on, or another --out",
        )
