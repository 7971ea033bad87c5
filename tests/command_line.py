# SPDX-License-Identifier: Apache-2.0
"""What the shell would make of a command that is written down somewhere."""

from collections.abc import Sequence

import tyro

from i2z_jax import commands


def parse(words: Sequence[str]) -> None:
    """The words after `i2z`; SystemExit if it has no such option."""
    name = commands._command_name(list(words))
    assert name is not None
    module = commands._module(name)
    given = words[len(name.split()) :]
    defaults = getattr(module, "defaults", None)
    tyro.cli(module.Config, args=given, default=defaults and defaults(given))
