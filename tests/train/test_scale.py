# SPDX-License-Identifier: Apache-2.0
"""One device = eight = two processes of four; what is sent."""

import json

import numpy as np
import pytest

from i2z_jax.collectives import bytes_by_kind, collectives
from tests.processes import finish, finish_all, start, start_cluster
from tests.train import scale_program
from tests.train.tiny_stages import LARGE
from tests.xla import simulated

PROGRAM = "-m", "tests.train.scale_program"
STAGES = ("landmarks", "dam", "regress")
# Those with kernels that `fsdp` divides.
DIVIDED = ("dam", "regress")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Folders of what a few steps gave: on 8 devices, on 2 x 4 with `fsdp` 2."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("eight", "two")}
    eight = start(*PROGRAM, "steps", folders["eight"], 1, environment=simulated(8))
    finish(eight, within=400)
    finish_all(start_cluster(*PROGRAM, "steps", folders["two"], 2, devices=4))
    return folders


@pytest.fixture(scope="module", params=STAGES)
def here(request):
    """A stage, and what its steps gave on the one device of this process."""
    losses, leaves, _, _ = scale_program.steps(request.param, fsdp=1)
    return request.param, losses, leaves


def read(folder, stage, fsdp):
    facts = json.loads((folder / "found.json").read_text())[f"{stage} {fsdp}"]
    with np.load(folder / f"{stage}-{fsdp}.npz") as arrays:
        return facts, [arrays[name] for name in arrays.files]


def test_steps_are_those_of_one_device(found, here):
    stage, losses, leaves = here
    for where, fsdp in [("eight", 1), *([("two", 2)] if stage in DIVIDED else [])]:
        facts, ours = read(found[where], stage, fsdp)
        np.testing.assert_allclose(facts["losses"], losses, rtol=1e-4)
        for a, b in zip(ours, leaves, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_networks_divided_over_processes_begin_like_whole_ones(tmp_path):
    """A process that holds half of each large kernel: `fsdp` across hosts."""
    finish_all(start_cluster(*PROGRAM, "begin", tmp_path, 2, devices=1))
    whole = scale_program.begin(fsdp=1)
    assert len(whole) > 20
    with np.load(tmp_path / "begin.npz") as divided:
        assert len(divided.files) == len(whole)
        for name, ours in zip(divided.files, map(np.asarray, whole), strict=True):
            # A row of a PCA, or a map, may be large.
            np.testing.assert_allclose(
                divided[name], ours, rtol=1e-4, atol=1e-4 * abs(ours).max()
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
    # Once, for the forward and the backward pass.
    kernels = sum(leaf.nbytes for leaf in large)
    assert sum(c.sent for c in gathered) == kernels
    others = bytes_by_kind(c for c in sent if c.kind != "all-gather")
    assert set(others) <= {"all-reduce", "reduce-scatter"}
    # The CPU's compiler knows no reduce-scatter: it sums a large gradient over the
    # devices that share its kernel, and its parts, in any layout, over the others.
    summed = {shape for c in sent if c.kind != "all-gather" for shape in c.shapes}
    for rows, columns in (sorted(leaf.shape) for leaf in large):
        half = sorted([rows, columns // 2])
        assert {"f32[{},{}]".format(*half), "f32[{1},{0}]".format(*half)} & summed
    trained = sum(leaf.nbytes for leaf in leaves)
    assert sum(others.values()) <= (trained + kernels / 2) * 1.1


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
