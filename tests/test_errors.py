# SPDX-License-Identifier: Apache-2.0
"""Errors in a line: the examples in the documentation are what is printed."""

import doctest

from i2z_jax import errors


def test_the_examples_are_true():
    found = doctest.testmod(errors)
    assert found.attempted >= 2
    assert not found.failed
