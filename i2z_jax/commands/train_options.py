# SPDX-License-Identifier: Apache-2.0
"""What the three `i2z train` commands share: defaults that follow `--preset`."""

import argparse
from dataclasses import MISSING, fields
from typing import Any

import tyro

from i2z_jax.presets import preset
from i2z_jax.train.recipes import RECIPES


def defaults(config: type[Any], stage: str, arguments: list[str]) -> Any:
    """The options of a stage before the command line is read.

    The preset is looked up first, so that `--preset tiny --help` shows its numbers and
    each can be overridden.

    Raises:
        InputError: there is no such preset.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", default="paper")
    name = parser.parse_known_args(arguments)[0].preset
    preset(name)
    given = {"preset": name, "run": RECIPES[name][stage]}
    # Not through the constructor: what is required has no value yet.
    start = object.__new__(config)
    for field in fields(config):
        value = given.get(field.name, field.default)
        if value is MISSING:
            made = field.default_factory
            value = tyro.MISSING if made is MISSING else made()
        object.__setattr__(start, field.name, value)
    return start
