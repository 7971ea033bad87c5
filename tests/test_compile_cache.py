# SPDX-License-Identifier: Apache-2.0
"""Programs are kept where the user can say, and never in the way."""

import os
from pathlib import Path

import pytest

from i2z_jax import compile_cache
from tests.processes import finish, start

# A command's start, then a program; says whether it was compiled or read.
PROGRAM = """
import os, warnings
warnings.simplefilter("error")
from i2z_jax import compile_cache
compile_cache.enable(os.environ)
import jax
heard = []
jax.monitoring.register_event_listener(lambda name, **_: heard.append(name))
print(float(jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((64, 64)))))
print("/jax/compilation_cache/cache_hits" in heard)
"""


def run(**environment: str) -> list[str]:
    kept = {
        name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ
    }
    # Everything is worth keeping: the program above compiles in no time.
    kept |= {"JAX_PLATFORMS": "cpu", compile_cache.LEAST: "0"}
    said, _ = finish(start("-c", PROGRAM, environment=kept | environment))
    return said.split()


def test_second_command_compiles_nothing(tmp_path):
    first, second = (run(XDG_CACHE_HOME=str(tmp_path)) for _ in range(2))
    assert (first[1], second[1]) == ("False", "True")
    assert first[0] == second[0] == str(64.0**3)
    assert any((tmp_path / "i2z_jax" / "programs").iterdir())


@pytest.mark.parametrize("switch", [{"JAX_ENABLE_COMPILATION_CACHE": "false"},
                                    {"JAX_COMPILATION_CACHE_DIR": ""}])  # fmt: skip
def test_off_writes_nothing(tmp_path, switch):
    assert run(XDG_CACHE_HOME=str(tmp_path), **switch)[1] == "False"
    assert not any(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_no_reason_to_fail(tmp_path):
    (tmp_path / "i2z_jax").write_text("a file where the folder would be")
    assert run(XDG_CACHE_HOME=str(tmp_path))[1] == "False"


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"HOME": "/h"}, "/h/.cache/i2z_jax/programs"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/c"}, "/c/i2z_jax/programs"),
        # The XDG specification: relative paths are invalid and ignored.
        ({"HOME": "/h", "XDG_CACHE_HOME": "c"}, "/h/.cache/i2z_jax/programs"),
        ({"HOME": "/h", "JAX_COMPILATION_CACHE_DIR": "/mine"}, "/mine"),
        ({}, None),
    ],
)
def test_place(environment, place):
    assert compile_cache.folder(environment) == (place and Path(place))


def test_doctor_counts(tmp_path):
    environment = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    (tmp_path / "step-cache").write_bytes(bytes(3 * 2**20))
    assert compile_cache.describe(environment) == f"{tmp_path}: 1 program, 3 MiB"
