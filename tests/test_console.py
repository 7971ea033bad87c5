# SPDX-License-Identifier: Apache-2.0
"""What is shown is what was said."""

import subprocess
import sys

from rich.table import Table

from i2z_jax import console

# Rich would read a style, a closing tag and a cat in it.
PATH = "clips [red] 1/[/home] :cat:.mp4"


def test_a_path_is_shown_as_it_is(capsys):
    console.out.print(PATH)
    console.err.print(PATH)
    table = Table("file", title=PATH)
    table.add_row(PATH)
    console.show_table(table)
    console.out.print(table)
    assert list(console.progress([1], PATH)) == [1]
    said = capsys.readouterr()
    assert said.out.count(PATH) == 5
    assert said.err.count(PATH) == 2


WORK = """
import sys
from i2z_jax import console

console.err.print("begins")
sys.stdin.readline()
for _ in console.progress(range(3), "work"):
    console.err.print("a remark")
print("a warning of a library", file=sys.stderr)
console.out.print("done")
"""


def test_work_goes_on_when_nobody_watches_any_more():
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", WORK], text=True, **pipes) as work:
        assert work.stderr.readline() == "begins\n"
        work.stderr.close()
        print(file=work.stdin, flush=True)
        assert work.stdout.read() == "done\n"
    assert work.returncode == 0
