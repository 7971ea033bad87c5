# SPDX-License-Identifier: Apache-2.0
"""A run goes on on other devices; a signal to every process of it."""

import json
import shutil
import signal

import numpy as np
import pytest

from tests.processes import finish_all, start_cluster, until

PROGRAM = "-m", "tests.train.scale_program"


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run of two processes with two devices each and fsdp, and its result."""
    workdir = tmp_path_factory.mktemp("run")
    finish_all(start_cluster(*PROGRAM, "train", workdir, 2, devices=2))
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
def test_a_checkpoint_goes_on_elsewhere(tmp_path, whole_run, processes, devices, fsdp):
    workdir = without_end(whole_run, tmp_path)
    words = "train", workdir, fsdp
    finish_all(start_cluster(*PROGRAM, *words, processes=processes, devices=devices))
    np.testing.assert_allclose(losses(workdir), losses(whole_run), rtol=1e-3)
    expected, ours = final(whole_run), final(workdir)
    assert expected.keys() == ours.keys()
    for name in expected:
        # Adam's step is up to a learning rate whatever the gradient: 4 of 1e-3.
        np.testing.assert_allclose(ours[name], expected[name], atol=4e-3, err_msg=name)
        assert np.abs(ours[name] - expected[name]).mean() < 2e-4


def test_frozen_weights_are_in_no_checkpoint_and_have_their_hash(whole_run):
    hashes = json.loads((whole_run / "frozen.json").read_text())
    assert any(name.startswith("dam.statistics.vert_mean") for name in hashes)
    stored = (whole_run / "checkpoints" / "6" / "state" / "_METADATA").read_text()
    assert "decoder" in stored
    assert "vert_mean" not in stored


def test_sigterm_saves_on_every_process_and_resuming_repeats(tmp_path, whole_run):
    stopped = tmp_path / "stopped"
    cluster = start_cluster(*PROGRAM, "slow", stopped, 2, devices=2)
    log = stopped / "metrics.jsonl"
    until(lambda: log.exists() and log.stat().st_size > 0, cluster[0], within=400)
    for process in cluster:
        process.send_signal(signal.SIGTERM)
    finish_all(cluster)
    assert not (stopped / "final.npz").exists()
    finish_all(start_cluster(*PROGRAM, "train", stopped, 2, devices=2))
    assert losses(stopped) == losses(whole_run)
    for name, expected in final(whole_run).items():
        np.testing.assert_array_equal(final(stopped)[name], expected, err_msg=name)
