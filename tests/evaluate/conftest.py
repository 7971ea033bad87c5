# SPDX-License-Identifier: Apache-2.0
"""What the tests of `evaluate` share."""

import pytest

from i2z_jax.evaluate.predict import Runner
from tests.evaluate import worlds


@pytest.fixture(scope="session")
def runner():
    return Runner.on_all_devices(4)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A built capture."""
    return worlds.capture(tmp_path_factory.mktemp("world"))
