# SPDX-License-Identifier: Apache-2.0
"""What is shown is what was said."""

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
