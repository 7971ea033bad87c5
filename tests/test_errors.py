# SPDX-License-Identifier: Apache-2.0
"""Errors in a line: the examples in the documentation are what is printed."""

import doctest

import pytest

from i2z_jax import errors, wording


@pytest.mark.parametrize(("module", "least"), [(errors, 2), (wording, 1)])
def test_the_examples_are_true(module, least):
    found = doctest.testmod(module)
    assert found.attempted >= least
    assert not found.failed
