# SPDX-License-Identifier: Apache-2.0
"""A rendered folder says what it was begun with, so that it is gone on with as that."""

import json
from collections.abc import Mapping
from pathlib import Path

from i2z_jax.errors import InputError
from i2z_jax.files import write_text


def claim(folder: Path, settings: Mapping[str, object]) -> None:
    """Mark a folder, new or empty, with all that decides its files (`synth.json`).

    Raises:
        InputError: it was begun with other settings, or holds something else, or
            cannot be written.
    """
    path = folder / "synth.json"
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if path.exists():
        if path.read_bytes() != text.encode():
            raise InputError(
                "begun with other options",
                where=folder,
                fix="give the same ones to go on, or another --out",
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError("already exists", where=folder, fix="choose another --out")
    write_text(path, text)
