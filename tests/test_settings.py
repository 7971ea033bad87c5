# SPDX-License-Identifier: Apache-2.0
"""What a folder was begun with."""

import pytest

from i2z_jax.errors import InputError
from i2z_jax.settings import remember


def test_what_differs_is_named(tmp_path):
    path = tmp_path / "new" / "settings.json"
    assert remember(path, {"seed": 1, "size": (2, 3), "name": None}) == {}
    assert remember(path, {"seed": 1, "size": [2, 3]}) == {}
    assert remember(path, {"seed": 2, "size": (2, 4), "way": "x"}) == {
        "seed": (1, 2),
        "size": ([2, 3], [2, 4]),
        "way": (None, "x"),
    }


@pytest.mark.parametrize("content", [b"", b"{", b"7", b"\xff\xfe"])
def test_a_damaged_file_is_one_line(tmp_path, content):
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="begun with") as error:
        remember(path, {"seed": 1})
    assert "\n" not in str(error.value)
