# SPDX-License-Identifier: Apache-2.0
"""Workers: as many as there are cores to use, and their results in order."""

import os

import pytest

from i2z_jax.data.workers import core_count


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="macOS")
def test_cores_that_a_scheduler_gives_to_others_do_not_count():
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert core_count() == 1
    finally:
        os.sched_setaffinity(0, cores)
    assert core_count() == len(cores)
