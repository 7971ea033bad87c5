# SPDX-License-Identifier: Apache-2.0
"""The settings that work in a folder was begun with, compared when it goes on."""

import json
from collections.abc import Mapping
from pathlib import Path

from i2z_jax.errors import InputError, first_line
from i2z_jax.files import write_text


def remember(
    path: Path, settings: Mapping[str, object]
) -> dict[str, tuple[object, object]]:
    """Write settings as JSON, or compare them with those that are there.

    Returns:
        Those that differ: name -> before and now.

    Raises:
        InputError: the file cannot be written, or is damaged.
    """
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if not path.exists():
        write_text(path, text)
        return {}
    now = json.loads(text)  # as it is read: a tuple is a list
    try:
        before = dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            "cannot read what this folder was begun with",
            where=path,
            expected="a JSON object",
            got=first_line(error),
            fix="choose another folder, or remove this one",
        ) from error
    names = sorted(before.keys() | now.keys())
    pairs = {name: (before.get(name), now.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
