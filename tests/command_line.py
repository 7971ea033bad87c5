# SPDX-License-Identifier: Apache-2.0
"""`i2z` without a shell: commands that run in this process, or are only read."""

from collections.abc import Sequence

import pytest
import tyro

from i2z_jax import commands


def i2z(*words: object) -> int:
    """Run `i2z WORDS` in this process; its exit status."""
    with pytest.raises(SystemExit) as end:
        commands.main([str(word) for word in words])
    return end.value.code


def refusal(capsys: pytest.CaptureFixture, *words: object) -> str:
    """The one line with which `i2z WORDS` refuses; progress may stand before it."""
    capsys.readouterr()
    assert i2z(*words) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    *progress, line = said.splitlines()
    assert not [x for x in progress if x.startswith("i2z ")]
    assert line.startswith("i2z ")
    return line


def parse(words: Sequence[str]) -> None:
    """The words after `i2z`; SystemExit if it has no such option."""
    name = commands._command_name(list(words))
    assert name is not None
    module = commands._module(name)
    given = words[len(name.split()) :]
    defaults = getattr(module, "defaults", None)
    tyro.cli(module.Config, args=given, default=defaults and defaults(given))
