# SPDX-License-Identifier: Apache-2.0
"""One device = eight = two processes of four; what is sent."""

import json

import numpy as np
import pytest

from i2z_jax.collectives import bytes_by_kind, collectives
from tests.train.scale_processes import alone, finish, start
from tests.train.tiny_stages import LARGE

STAGES = ("landmarks", "dam", "regress")
# Those with kernels that `fsdp` divides.
DIVIDED = ("dam", "regress")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Folders of what a few steps gave: on 1 device, on 8, on 2 x 4 with `fsdp` 2."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "eight", "two")}
    alone("steps", folders["one"], 1, devices=1)
    alone("steps", folders["eight"], 1, devices=8)
    finish(start("steps", folders["two"], 2, processes=2, devices=4))
    return folders


def read(folder, stage, fsdp):
    facts = json.loads((folder / "found.json").read_text())[f"{stage} {fsdp}"]
    with np.load(folder / f"{stage}-{fsdp}.npz") as arrays:
        return facts, [arrays[name] for name in arrays.files]


@pytest.mark.parametrize(
    ("stage", "where", "fsdp"),
    [
        *((stage, "eight", 1) for stage in STAGES),
        *((stage, "two", 2) for stage in DIVIDED),
    ],
)
def test_steps_are_those_of_one_device(found, stage, where, fsdp):
    one, ours = read(found["one"], stage, 1), read(found[where], stage, fsdp)
    np.testing.assert_allclose(ours[0]["losses"], one[0]["losses"], rtol=1e-4)
    for a, b in zip(ours[1], one[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_networks_divided_over_processes_begin_like_whole_ones(tmp_path):
    """A process that holds half of each large kernel: `fsdp` across hosts."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    alone("begin", one, 1, devices=1)
    finish(start("begin", two, 2, processes=2, devices=1))
    with np.load(one / "begin.npz") as whole, np.load(two / "begin.npz") as divided:
        assert len(whole.files) > 20
        for name in whole.files:
            # A row of a PCA, or a map, may be large.
            np.testing.assert_allclose(
                divided[name],
                whole[name],
                rtol=1e-4,
                atol=1e-4 * abs(whole[name]).max(),
            )


@pytest.mark.parametrize("stage", STAGES)
def test_only_gradients_and_scalars_are_sent(found, stage):
    sent = collectives((found["eight"] / f"{stage}-1.txt").read_text())
    _, leaves = read(found["eight"], stage, 1)
    trained = sum(leaf.nbytes for leaf in leaves)
    assert set(bytes_by_kind(sent)) == {"all-reduce"}
    # Every gradient once; beside them metrics, and sums that statistics are made of.
    assert trained * 0.95 <= bytes_by_kind(sent)["all-reduce"] <= trained * 1.1


@pytest.mark.parametrize("stage", DIVIDED)
def test_fsdp_gathers_large_kernels_and_nothing_else(found, stage):
    sent = collectives((found["two"] / f"{stage}-2.txt").read_text())
    _, leaves = read(found["two"], stage, 2)
    large = [leaf for leaf in leaves if leaf.ndim == 2 and leaf.size >= LARGE]
    shapes = {"f32[{},{}]".format(*leaf.shape) for leaf in large}
    gathered = [c for c in sent if c.kind == "all-gather"]
    assert {shape for c in gathered for shape in c.shapes} <= shapes
    # Once for the forward pass, and at most once more for the backward one.
    kernels = sum(leaf.nbytes for leaf in large)
    assert kernels <= sum(c.sent for c in gathered) <= 2 * kernels
    others = bytes_by_kind(c for c in sent if c.kind != "all-gather")
    assert set(others) <= {"all-reduce", "reduce-scatter"}
    trained = sum(leaf.nbytes for leaf in leaves)
    assert sum(others.values()) <= trained * 1.1


@pytest.mark.parametrize("stage", DIVIDED)
def test_no_device_ever_holds_a_whole_large_kernel(found, stage):
    facts, _ = read(found["two"], stage, 2)
    large = [
        (whole, part)
        for whole, part, _ in facts["shards"]
        if len(whole) == 2 and np.prod(whole) >= LARGE
    ]
    assert large  # kernels and their moments
    for whole, part in large:
        assert 2 * np.prod(part) == np.prod(whole)
