# SPDX-License-Identifier: Apache-2.0
"""What work in a folder was begun with, so that it is gone on with as that."""

import json
from collections.abc import Mapping
from pathlib import Path

from i2z_jax.files import write_text


def remember(path: Path, settings: Mapping[str, object]) -> list[str]:
    """Write settings as JSON, or compare them with those that are there.

    Returns:
        The names of those that differ.

    Raises:
        InputError: the file cannot be written.
    """
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if not path.exists():
        write_text(path, text)
        return []
    before, now = json.loads(path.read_text()), json.loads(text)
    names = sorted(before.keys() | now.keys())
    return [name for name in names if before.get(name) != now.get(name)]
