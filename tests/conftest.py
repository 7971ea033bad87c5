# SPDX-License-Identifier: Apache-2.0
"""Settings of the whole test run: checked shapes, strict ranks, warnings as errors."""

import os

# Before jax starts: what a laptop has, and no pre-allocated accelerator memory.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

# Every annotated function of the package checks its array shapes while tests run.
install_import_hook("i2z_jax", "beartype.beartype")

import absl.flags
import jax
import numpy as np
import pytest

# grain reads an absl flag when workers start; nothing here parses absl flags.
absl.flags.FLAGS.mark_as_parsed()
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20190616)
