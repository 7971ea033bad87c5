# SPDX-License-Identifier: Apache-2.0
"""Runs that begin, start anew and are killed at any moment."""

import os
from pathlib import Path

import pytest

from i2z_jax.errors import InputError
from i2z_jax.track import work_folder

FILES = "scan.npz", "places.npz", "faces-00000.npz", "rows-00000.npz", "rows-00001.npz"


def write_run(work: Path, name: str) -> None:
    """A run with settings and parts that say whose they are."""
    work_folder.begin(work, {"name": name})
    for file in FILES:
        (work / file).write_text(name)


def run_in(work: Path) -> str | None:
    """Whose run can be gone on with, and is whole."""
    if not (work / "settings.json").exists():
        return None
    (name,) = {(work / file).read_text() for file in FILES}
    work_folder.begin(work, {"name": name})
    return name


def killed(monkeypatch, after: int) -> None:
    """A kill before the change number `after` on the disk."""
    left = [after]

    def counting(change):
        def changing(*args):
            left[0] -= 1
            if left[0] < 0:
                raise SystemExit
            return change(*args)

        return changing

    monkeypatch.setattr(Path, "unlink", counting(Path.unlink))
    monkeypatch.setattr(Path, "rmdir", counting(Path.rmdir))
    monkeypatch.setattr(os, "replace", counting(os.replace))


@pytest.mark.parametrize("after", range(12))
@pytest.mark.parametrize("then_anew", [False, True])
def test_a_kill_while_a_new_run_takes_the_place_loses_none(
    tmp_path, monkeypatch, after, then_anew
):
    write_run(tmp_path / "work", "old")
    write_run(work_folder.choose(tmp_path, anew=True), "new")
    assert run_in(tmp_path / "work") == "old"
    with monkeypatch.context() as patch:
        killed(patch, after)
        try:
            work_folder.settle(tmp_path)
        except SystemExit:
            assert after < 8
    assert work_folder.has_begun(tmp_path)
    work = work_folder.choose(tmp_path, anew=then_anew)
    expected = "new"
    if then_anew:
        expected = "newer"
        write_run(work, "newer")
    assert run_in(work) == expected
    work_folder.settle(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert run_in(tmp_path / "work") == expected


@pytest.mark.parametrize("after", range(8))
def test_a_kill_while_a_new_run_begins_or_is_abandoned_leaves_the_old_one(
    tmp_path, monkeypatch, after
):
    write_run(tmp_path / "work", "old")
    write_run(work_folder.choose(tmp_path, anew=True), "stopped")
    with monkeypatch.context() as patch:
        killed(patch, after)
        try:
            work_folder.choose(tmp_path, anew=True)
        except SystemExit:
            assert after < 7
    assert run_in(tmp_path / "work") == "old"
    going_on = work_folder.choose(tmp_path, anew=False)
    assert run_in(going_on) == ("stopped" if after == 0 else "old")
    again = work_folder.choose(tmp_path, anew=True)
    assert not again.exists()
    work_folder.begin(again, {"name": "without a face"})
    work_folder.abandon(again)
    assert run_in(work_folder.choose(tmp_path, anew=False)) == "old"


def test_a_strange_file_beside_the_old_run_stays(tmp_path):
    """The new run is found in spite of it."""
    write_run(tmp_path / "work", "old")
    (tmp_path / "work" / "notes.txt").write_text("mine")
    write_run(work_folder.choose(tmp_path, anew=True), "new")
    work_folder.settle(tmp_path)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["notes.txt"]
    assert run_in(work_folder.choose(tmp_path, anew=False)) == "new"


def test_a_kill_while_the_settings_are_written_leaves_none(tmp_path, monkeypatch):
    """What is half-written lies aside; a run with these settings has not begun."""
    work, written = tmp_path / "work", []

    def killed(path, data):
        written.append(path)
        with path.open("wb") as file:
            file.write(data[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        patch.setattr(Path, "write_text", lambda p, t: killed(p, t.encode()))
        with pytest.raises(KeyboardInterrupt):
            work_folder.begin(work, {"video": "clip.mp4"})
    assert written
    assert not (work / "settings.json").exists()
    work_folder.begin(work, {"video": "clip.mp4"})
    assert (work / "settings.json").exists()
    with pytest.raises(InputError, match="differently: face was None, is 2; give"):
        work_folder.begin(work, {"video": "clip.mp4", "face": 2})


def test_a_video_that_differs_is_said_once(tmp_path):
    work_folder.begin(tmp_path / "work", {"video": "a.mp4", "video_file": "1"})
    for video, says in (
        ("b.mp4", r"differently: video was 'a\.mp4', is 'b\.mp4'; give"),
        ("a.mp4", "differently: video edited since; give"),
    ):
        with pytest.raises(InputError, match=says):
            work_folder.begin(tmp_path / "work", {"video": video, "video_file": "2"})
