# SPDX-License-Identifier: Apache-2.0
"""One device = eight = two processes of four; what is sent; what goes on elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from i2z_jax.collectives import bytes_by_kind, collectives
from launch import local_cluster
from tests.train.tiny_stages import LARGE

ROOT = Path(__file__).parents[2]
PROGRAM = str(Path(__file__).with_name("scale_program.py"))
STAGES = ("landmarks", "dam", "regress")
# Programs that run a few steps: quick to compile matters more than quick to run.
CHEAP = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
PATIENCE = 400


@pytest.fixture(autouse=True, scope="module")
def environment():
    before = dict(os.environ)
    os.environ |= {
        "XLA_FLAGS": CHEAP,
        "PYTHONPATH": str(ROOT),
    }
    yield
    os.environ.clear()
    os.environ.update(before)


def start(*arguments, processes, devices):
    return local_cluster.start(
        [PROGRAM, *map(str, arguments)],
        processes=processes,
        devices=devices,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(cluster):
    ends = [process.communicate(timeout=PATIENCE) for process in cluster]
    for process, (_, error) in zip(cluster, ends, strict=True):
        assert process.returncode == 0, error[-3000:]


def alone(*arguments, devices):
    """A process that is no cluster."""
    flags = f"{CHEAP} --xla_force_host_platform_device_count={devices}"
    subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        check=True,
        timeout=PATIENCE,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Folders of what a few steps gave: on 1 device, on 8, on 2 x 4."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "eight", "two")}
    alone("steps", folders["one"], 1, devices=1)
    alone("steps", folders["eight"], 1, 2, devices=8)
    finish(start("steps", folders["two"], 2, processes=2, devices=4))
    return folders


def read(folder, stage, fsdp):
    facts = json.loads((folder / "found.json").read_text())[f"{stage} {fsdp}"]
    with np.load(folder / f"{stage}-{fsdp}.npz") as arrays:
        return facts, [arrays[name] for name in arrays.files]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("where", "fsdp"), [("eight", 1), ("eight", 2), ("two", 2)])
def test_steps_are_those_of_one_device(found, stage, where, fsdp):
    one, ours = read(found["one"], stage, 1), read(found[where], stage, fsdp)
    np.testing.assert_allclose(ours[0]["losses"], one[0]["losses"], rtol=1e-4)
    for a, b in zip(ours[1], one[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_only_gradients_and_scalars_are_sent(found, stage):
    sent = collectives((found["eight"] / f"{stage}-1.txt").read_text())
    _, leaves = read(found["eight"], stage, 1)
    trained = sum(leaf.nbytes for leaf in leaves)
    assert set(bytes_by_kind(sent)) == {"all-reduce"}
    # Every gradient once; beside them metrics, and sums that statistics are made of.
    assert trained * 0.95 <= bytes_by_kind(sent)["all-reduce"] <= trained * 1.1


@pytest.mark.parametrize("stage", STAGES)
def test_fsdp_gathers_large_kernels_and_nothing_else(found, stage):
    sent = collectives((found["eight"] / f"{stage}-2.txt").read_text())
    _, leaves = read(found["eight"], stage, 2)
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


@pytest.mark.parametrize("stage", ["dam", "regress"])
def test_no_device_ever_holds_a_whole_large_kernel(found, stage):
    facts, _ = read(found["eight"], stage, 2)
    large = [
        (whole, part)
        for whole, part, _ in facts["shards"]
        if len(whole) == 2 and np.prod(whole) >= LARGE
    ]
    assert large  # kernels and their moments
    for whole, part in large:
        assert 2 * np.prod(part) == np.prod(whole)


@pytest.fixture(scope="module")
def run_of_eight(tmp_path_factory):
    """A run on eight devices with fsdp, and its result."""
    workdir = tmp_path_factory.mktemp("run")
    alone("train", workdir, 2, devices=8)
    return workdir


def without_end(run, folder):
    """The run as a kill after its second checkpoint leaves it."""
    shutil.copytree(run, folder, dirs_exist_ok=True)
    for step in ("4", "6"):
        shutil.rmtree(folder / "checkpoints" / step)
    (folder / "final.npz").unlink()
    return folder


def final(workdir):
    with np.load(workdir / "final.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.parametrize(
    ("processes", "devices", "fsdp"), [(1, 1, 1), (2, 4, 4)], ids=["one", "2x4"]
)
def test_a_checkpoint_goes_on_elsewhere(
    tmp_path, run_of_eight, processes, devices, fsdp
):
    workdir = without_end(run_of_eight, tmp_path)
    finish(start("train", workdir, fsdp, processes=processes, devices=devices))
    np.testing.assert_allclose(losses(workdir), losses(run_of_eight), rtol=1e-3)
    expected, ours = final(run_of_eight), final(workdir)
    assert expected.keys() == ours.keys()
    for name in expected:
        # Adam's step is up to a learning rate whatever the gradient: 4 of 1e-3.
        np.testing.assert_allclose(ours[name], expected[name], atol=4e-3, err_msg=name)
        assert np.abs(ours[name] - expected[name]).mean() < 2e-4


def test_frozen_weights_are_in_no_checkpoint_and_have_their_hash(run_of_eight):
    hashes = json.loads((run_of_eight / "frozen.json").read_text())
    assert any(name.startswith("dam.statistics.vert_mean") for name in hashes)
    stored = (run_of_eight / "checkpoints" / "6" / "state" / "_METADATA").read_text()
    assert "decoder" in stored
    assert "vert_mean" not in stored


def test_sigterm_saves_on_every_process_and_resuming_repeats(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    finish(start("train", whole, 2, processes=2, devices=2))
    cluster = start("slow", stopped, 2, processes=2, devices=2)
    log = stopped / "metrics.jsonl"
    while cluster[0].poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.1)
    for process in cluster:
        process.send_signal(signal.SIGTERM)
    finish(cluster)
    assert not (stopped / "final.npz").exists()
    finish(start("train", stopped, 2, processes=2, devices=2))
    assert losses(stopped) == losses(whole)
    for name, expected in final(whole).items():
        np.testing.assert_array_equal(final(stopped)[name], expected, err_msg=name)
