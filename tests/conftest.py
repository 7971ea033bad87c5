# SPDX-License-Identifier: Apache-2.0
"""Settings of the whole test run: checked shapes, strict ranks, warnings as errors."""

import os
from pathlib import Path

from tests.xla import CHEAP

# Before jax starts: what a laptop has, and no pre-allocated accelerator memory.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", CHEAP)
# Two workers that each run XLA on all cores hinder each other, by up to five times.
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    _worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    _workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, _cores[_worker % len(_cores) :: _workers])

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


# A worker that begins one of these last would keep the other waiting.
LONG = (
    "train/test_adapt.py",
    "train/test_scale.py",
    "models/test_i2znet.py",
    "convert/test_families.py",
    "train/test_scale_runs.py",
    "train/test_commands.py",
    "train/test_stage_steps.py",
    "evaluate/test_commands.py",
    "train/test_loop.py",
    "synth/test_commands.py",
    "track/test_going_on.py",
    "track/test_command.py",
    "models/test_dam_parity.py",
)


def pytest_collection_modifyitems(items):
    """Files that take a minute and more come first."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """One cache of programs for all tests and what they start; none of the user's."""
    base = tmp_path_factory.getbasetemp()
    # Workers of xdist have a folder each in the run's own.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "programs"
    os.environ["XDG_CACHE_HOME"] = str(folder)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    # The smallest programs, too: processes that start begin with a hundred of them.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20190616)


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    """Both datasets of `tests/toy.py`, built."""
    from tests import toy

    toy.register()
    return toy.build(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def toy_models(toy_data, tmp_path_factory) -> dict[str, Path]:
    """Folders of a trained `hourglass`, `vgg`, `dam` and `system`, and the `data`."""
    from tests import toy

    runs = tmp_path_factory.mktemp("toy_runs")
    hourglass = toy.landmarks(toy_data, runs / "hourglass")
    vgg = toy.landmarks(toy_data, runs / "vgg", stream="vgg")
    dam = toy.dam(toy_data, runs / "dam")
    system = toy.regress(
        toy_data, runs / "regress", dam=dam, vgg=vgg, hourglass=hourglass
    )
    folders = {"hourglass": hourglass, "vgg": vgg, "dam": dam, "system": system}
    return {"data": toy_data, **folders}
