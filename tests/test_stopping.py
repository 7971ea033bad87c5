# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM, wherever they come."""

import gc
import signal
import time
from contextlib import suppress

import pytest

from i2z_jax import checkpoint, commands, stopping
from i2z_jax.checkpoint import ModelCard
from i2z_jax.commands import doctor
from i2z_jax.config import VGGConfig
from tests.models.weights import random_module

KINDS = pytest.mark.parametrize(("number", "kind"), stopping.RAISED.items())


@pytest.fixture(autouse=True)
def foreground():
    """A shell's background job, as these tests may be, has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def heard(run):
    with stopping.heard():
        run()


@KINDS
def test_what_a_destructor_drops_is_raised_again(number, kind):
    class Dropped:
        def __del__(self):
            signal.raise_signal(number)

    def run():
        Dropped()
        time.sleep(30)

    before = signal.getsignal(number)
    with pytest.raises(kind):
        heard(run)
    assert signal.getsignal(number) is before


@KINDS
def test_what_a_collection_of_garbage_drops_is_raised_again(number, kind):
    """JAX has a callback of the collector."""

    def callback(phase, info):
        if phase == "start":
            gc.callbacks.remove(callback)
            signal.raise_signal(number)

    def run():
        gc.callbacks.append(callback)
        gc.collect()
        time.sleep(30)

    with pytest.raises(kind):
        heard(run)


@KINDS
def test_a_signal_waits_for_the_end_of_what_it_would_break(number, kind):
    done = []

    def run():
        with stopping.later():
            with stopping.later():
                signal.raise_signal(number)
            done.append("inner and outer")
        done.append("more")

    with pytest.raises(kind):
        heard(run)
    assert done == ["inner and outer"]


def test_a_signal_that_waits_is_not_lost_where_the_block_fails():
    def run():
        with suppress(ValueError), stopping.later():
            signal.raise_signal(signal.SIGTERM)
            raise ValueError("a damaged file")

    with pytest.raises(stopping.Terminated):
        heard(run)


def test_what_a_shell_had_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stopping.heard():
        signal.raise_signal(signal.SIGINT)


def test_another_exception_that_is_dropped_is_told_as_ever(capsys):
    class Broken:
        def __del__(self):
            raise ValueError("broken")

    with stopping.heard():
        Broken()
    assert "Exception ignored in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_command_that_still_starts_ends_in_one_line(
    monkeypatch, capsys, number, code, says
):
    def module(name):
        with suppress(BaseException):  # as the half of an import that C does
            signal.raise_signal(number)
        return doctor

    monkeypatch.setattr(commands, "_module", module)
    with pytest.raises(SystemExit) as end:
        commands.main(["doctor"])
    assert end.value.code == code
    assert capsys.readouterr().err == f"i2z doctor: {says}\n"


def test_weights_that_were_not_read_to_the_end_are_not_called_damaged(
    monkeypatch, tmp_path
):
    sizes = VGGConfig(depth=16, channels=(4, 4, 4, 4, 4))
    card = ModelCard("vgg", sizes, licence="")
    checkpoint.save_model(tmp_path / "vgg", random_module("vgg", sizes), card)
    metadata = checkpoint.models.ocp.metadata

    def stopped(path):
        try:
            signal.raise_signal(signal.SIGTERM)
            return metadata(path)
        except BaseException:  # what Orbax makes of it
            return type("Nothing", (), {"metadata": None})

    monkeypatch.setattr(checkpoint.models.ocp, "metadata", stopped)
    with pytest.raises(stopping.Terminated):
        heard(lambda: checkpoint.load(tmp_path / "vgg"))
