# SPDX-License-Identifier: Apache-2.0
"""`synth.json`: the options a folder was rendered with, checked on resume."""

from collections.abc import Mapping
from pathlib import Path

from i2z_jax.errors import InputError
from i2z_jax.settings import remember


def claim(folder: Path, settings: Mapping[str, object]) -> None:
    """Record the options that determine a folder's files, or check the recorded ones.

    Args:
        folder: new, empty, or begun with these settings.
        settings: JSON values.

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
