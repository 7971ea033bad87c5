# SPDX-License-Identifier: Apache-2.0
"""What the three `i2z train` commands share: defaults that follow `--preset`."""

import argparse
from dataclasses import MISSING, fields
from typing import Any

import tyro

from i2z_jax.presets import preset
from i2z_jax.train.recipes import recipe


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
    required = {
        field.name: tyro.MISSING
        for field in fields(config)
        if field.default is MISSING and field.default_factory is MISSING
    }
    return config(**required, preset=name, run=recipe(stage, name))
