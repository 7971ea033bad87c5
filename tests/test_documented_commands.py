# SPDX-License-Identifier: Apache-2.0
"""Every `i2z` command that README and docs print is one that can be typed."""

import re
import shlex
from pathlib import Path

import pytest

from i2z_jax import commands
from tests.command_line import parse

ROOT = Path(__file__).parent.parent
# A line of a code block, with those it is continued on; or a line of text that begins
# with a command.
COMMAND = re.compile(r"^(?: {4})?i2z [^`]*?(?<!\\)$|^`i2z [^`]+`", re.MULTILINE)


def documented() -> list[tuple[str, str]]:
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for match in COMMAND.findall(page.read_text()):
            line = match.replace("\\\n", " ").strip().strip("`")
            words = shlex.split(line, comments=True)[1:]
            name = commands._command_name(words)
            # Not those that are shortened, stand for any command, or only name one.
            shortened = "..." in words or "[" in line
            named = match.startswith("`") and " -" not in line
            if name and not shortened and not named:
                found.append((page.name, shlex.join(words)))
    return found


def test_they_are_found():
    assert len(documented()) > 25
    assert {page for page, _ in documented()} >= {"README.md", "track.md", "scale.md"}


@pytest.mark.parametrize(("page", "command"), documented())
def test_it_is_a_command_with_options_it_has(page, command):
    parse(shlex.split(command))
