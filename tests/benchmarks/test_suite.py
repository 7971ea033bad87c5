# SPDX-License-Identifier: Apache-2.0
"""What a benchmark says can be believed: same work on both sides, floors counted."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import regress, suite, torch_peer
from benchmarks.device import Rates
from benchmarks.measure import Contender, program, race
from i2z_jax.config import DAMConfig
from i2z_jax.errors import InputError
from i2z_jax.presets import Preset
from tests.train.tiny_stages import NET

RATES = Rates(flops=1e9, bytes=1e9)


@pytest.fixture
def small(monkeypatch):
    """A preset that compiles in seconds, and the peer as it is written."""
    sizes = Preset(i2z=NET, dam=DAMConfig(z_size=8, vertices=50, texture_size=32))
    monkeypatch.setattr(suite, "PRESETS", {"tiny": sizes})
    monkeypatch.setattr(torch_peer, "forms", lambda: {"PyTorch": False})
    return suite.Options(batch=(2,), rounds=1)


def test_peer_computes_the_same_two_steps(small):
    """`measure` compares losses, terms and gradient norms before it times."""
    ours, peer = regress.measure(small, RATES)
    assert (ours.name, peer.name) == ("i2z_jax", "PyTorch")
    assert peer.ratio == 1
    assert ours.flops > 0
    assert ours.memory > 0
    assert ours.first_s > 0


def test_another_network_is_not_timed(small, monkeypatch):
    fill = torch_peer.fill

    def fill_almost(trained, net):
        fill(trained, net)
        trained.z_regressor.layers[-1].bias.data += 0.01

    monkeypatch.setattr(torch_peer, "fill", fill_almost)
    with pytest.raises(ValueError, match="not timed"):
        list(regress.measure(small, RATES))


def test_floor_is_the_larger_of_two():
    """A matrix product of n³ is limited by its FLOPs, a sum by what it reads."""
    n = 64
    square = jnp.ones((n, n))
    contenders = {
        "product": program(lambda x: x @ x, square),
        "sum": program(lambda x: x + 1, square),
    }
    product, total = race("t", "", contenders, suite.Options(rounds=2), RATES, 1)
    assert product.flops == pytest.approx(2 * n**3, rel=0.01)
    assert product.floor_s == pytest.approx(2 * n**3 / RATES.flops, rel=0.01)
    assert total.bytes == 2 * 4 * n**2
    assert total.floor_s == total.bytes / RATES.bytes
    assert product.gap == pytest.approx(product.cpu_s / product.floor_s)


def test_ratio_is_to_the_fastest_peer():
    """On a CPU of processor seconds, so a contender that waits does not lose by it."""

    def work(times):
        return lambda: [np.sort(np.arange(200_000)[::-1]) for _ in range(times)]

    contenders = {
        "ours": Contender(work(2), 0.0, program(lambda x: x, jnp.ones(1)).cost),
        "slow": Contender(work(16)),
        "fast": Contender(work(4)),
    }
    rows = race("t", "", contenders, suite.Options(rounds=5), RATES, 1)
    ratios = {row.name: row.ratio for row in rows}
    assert ratios["fast"] == 1
    assert ratios["ours"] < 0.9
    assert ratios["slow"] > 1.5


def test_record_has_rows_machine_and_rates(tmp_path, small, monkeypatch):
    monkeypatch.setattr("benchmarks.device.measure_rates", lambda dtype: RATES)
    path = tmp_path / "out.json"
    suite.run(
        ["decode"],
        suite.Options(batch=(1,), rounds=1, peer=False, json=path),
    )
    record = json.loads(path.read_text())
    (row,) = record["rows"]
    assert row["subject"] == "decode"
    assert record["rates"] == RATES._asdict()
    assert record["machine"]["platform"] == "cpu"
    assert record["machine"]["jax"]


def test_unknown_name_is_refused():
    with pytest.raises(InputError, match="no such benchmark"):
        suite.run(["speed"], suite.Options())


@pytest.mark.parametrize("name", suite.SUITE)
def test_every_subject_is_there(name):
    module, function = suite.SUITE[name].measure.split(":")
    imported = __import__(f"benchmarks.{module}", fromlist=[function])
    assert callable(getattr(imported, function))
