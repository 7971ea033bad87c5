# SPDX-License-Identifier: Apache-2.0
"""Options for XLA, by its release."""

import pytest

from i2z_jax import xla_flags


@pytest.fixture(params=["0.10.2", "0.11.2"])
def release(request, monkeypatch):
    monkeypatch.setattr(xla_flags, "version", lambda name: request.param)
    return request.param


def test_only_options_that_the_release_knows(release):
    old = release.startswith("0.10")
    assert bool(xla_flags.fast_compile_flags()) == old
    assert bool(xla_flags.correctness_flags()) != old


def test_the_users_flags_stay(release):
    mine = "--xla_cpu_experimental_ynn_fusion_type="
    environment = {"XLA_FLAGS": mine}
    xla_flags.add_correctness_flags(environment)
    assert environment == {"XLA_FLAGS": mine}
    environment = {"XLA_FLAGS": "--xla_dump_to=here"}
    xla_flags.add_correctness_flags(environment)
    assert environment["XLA_FLAGS"].split()[0] == "--xla_dump_to=here"
    added = environment["XLA_FLAGS"].split()[1:]
    assert added == list(xla_flags.correctness_flags())
