# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os

import numpy as np
import pytest

from i2z_jax.errors import InputError
from i2z_jax.files import (
    make_place,
    make_writable,
    write_aside,
    write_bytes,
    write_json,
)


def test_nothing_is_left_of_a_failed_write(tmp_path):
    def write_half_and_fail():
        with write_aside(tmp_path / "out") as aside:
            aside.mkdir()
            (aside / "half").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half_and_fail()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_result_is_refused_and_kept(tmp_path):
    (tmp_path / "out").write_text("old")
    with (
        pytest.raises(InputError, match="already exists"),
        write_aside(tmp_path / "out"),
    ):
        pass
    assert (tmp_path / "out").read_text() == "old"


@pytest.mark.parametrize("write", [make_place, lambda path: write_bytes(path, b"new")])
def test_a_pipe_stays_one(tmp_path, write):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="is a device or a pipe"):
        write(pipe)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_link_stays_one_and_leads_to_what_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real", tmp_path / "link"
    link.symlink_to(real)
    for data in (b"old", b"new"):
        write_bytes(link, data)
        assert link.is_symlink()
        assert real.read_bytes() == data


def test_a_folder_that_can_be_written_is_left_empty(tmp_path):
    make_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    for folder, says in (("file", "is a file"), ("file/b", "cannot write here")):
        with pytest.raises(InputError, match=says):
            make_writable(tmp_path / folder)


@pytest.mark.parametrize("folder", [False, True])
def test_overwrite_replaces_whole(tmp_path, folder):
    for content in ("old", "new"):
        with write_aside(tmp_path / "out", overwrite=True) as aside:
            if folder:
                aside.mkdir()
                (aside / content).write_text(content)
            else:
                aside.write_text(content)
    found = [p.name for p in (tmp_path / "out").iterdir()] if folder else [
        (tmp_path / "out").read_text()
    ]  # fmt: skip
    assert found == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_cannot_be_replaced_is_still_there(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()

    def fail(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fail)
    with (
        pytest.raises(KeyboardInterrupt),
        write_aside(tmp_path / "out", overwrite=True) as aside,
    ):
        aside.mkdir()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_json_has_null_for_what_is_no_finite_number(tmp_path):
    """As the standard wants it; and no one's reader would take NaN."""
    row = {"a": np.nan, "b": (-np.inf, np.float64("nan"), 1.5), "c": [{"d": np.inf}]}
    write_json(tmp_path / "a.json", row)

    def refuse(constant):
        raise AssertionError(constant)

    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=refuse) == {
        "a": None,
        "b": [None, None, 1.5],
        "c": [{"d": None}],
    }


@pytest.mark.parametrize("given", [".", "../here"])
def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch, given):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="is the current folder"), write_aside(given):
        pass
    assert [p.name for p in tmp_path.rglob("*")] == ["here"]


def test_unwritable_parent_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot write"),
        write_aside(tmp_path / "file" / "out"),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path, number):
    def write_until_full():
        with write_aside(tmp_path / "out") as aside:
            aside.write_text("half")
            raise OSError(number, os.strerror(number))

    says = rf"out: cannot write \({os.strerror(number)}\)"
    with pytest.raises(InputError, match=says):
        write_until_full()
    assert list(tmp_path.iterdir()) == []
