# SPDX-License-Identifier: Apache-2.0
import pytest

from i2z_jax.chunks import chunks


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (6, 3, [([0, 1, 2], [0, 1, 2]), ([3, 4, 5], [3, 4, 5])]),
        (5, 3, [([0, 1, 2], [0, 1, 2]), ([2, 3, 4], [3, 4])]),
        (2, 3, [([0, 1, 1], [0, 1])]),
        (2, 1, [([0], [0]), ([1], [1])]),
        (0, 3, []),
    ],
)
def test_chunks_have_one_size_and_give_each_row_once(count, size, expected):
    found = [(rows.tolist(), rows[new].tolist()) for rows, new in chunks(count, size)]
    assert found == expected
