# SPDX-License-Identifier: Apache-2.0
"""Figures of adaptation are shown as those of what they were measured on."""

import json
import os
import sys
from dataclasses import replace

import pytest

from benchmarks import adaptation
from benchmarks.adaptation import Options


@pytest.fixture
def options(tmp_path):
    for name in ("a/clip.mp4", "b/clip.mp4", "system/i2znet", "data/dataset.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return Options(
        (tmp_path / "a" / "clip.mp4",),
        tmp_path / "system",
        tmp_path / "data",
        tmp_path / "out",
    )


@pytest.fixture
def measured(monkeypatch):
    """What was measured, in place of measuring: each time another error."""
    calls = []

    def measure(options, video, seed, variants, workdir):
        calls.append(workdir)
        figures = dict.fromkeys(("before", "after", "oracle"), float(len(calls)))
        pairs = {"lab_vertex_mm": [None, None], "pose_px": [0.0, 0.0]}
        for variant in variants:
            named = {"video": str(video), "seed": seed, "variant": variant}
            yield named | figures | pairs | {"gap_closed": 0.5}

    monkeypatch.setattr(adaptation, "measure", measure)
    return calls


def test_what_was_measured_is_not_measured_again(options, measured, capsys):
    adaptation.main(options)
    capsys.readouterr()
    adaptation.main(options)
    assert len(measured) == 1
    shown = capsys.readouterr().out
    assert "1.000" in shown
    assert "-, -" in shown


@pytest.mark.parametrize(
    "change",
    ["video of the same name", "edited video", "edited truth", "seed", "distance",
     "option", "other tracker", "trained on"],
)  # fmt: skip
def test_anything_else_is(options, measured, capsys, change):
    adaptation.main(options)
    video, checkpoint = options.videos[0], options.checkpoint
    other = options
    if change == "video of the same name":
        other = replace(options, videos=(video.parents[1] / "b" / video.name,))
    elif change == "edited video":
        os.utime(video, ns=(0, 0))
    elif change == "edited truth":
        video.with_name("clip.truth.npz").touch()
    elif change == "seed":
        other = replace(options, seeds=(1,))
    elif change == "distance":
        other = replace(options, distance_mm=900.0)
    elif change == "option":
        other = replace(options, run=replace(options.run, batch_size=4))
    elif change == "other tracker":
        other = replace(options, checkpoint=checkpoint.parent / "b")
    elif change == "trained on":
        (checkpoint / "i2znet").write_text("better")
    capsys.readouterr()
    adaptation.main(other)
    assert len(set(measured)) == 2
    said = capsys.readouterr().out
    assert "2.000" in said
    assert "1.000" not in said
    rows = json.loads((options.out / "results.json").read_text())
    assert [row["before"] for row in rows] == [1, 2]


def test_a_bad_checkpoint_is_one_line(options, monkeypatch):
    words = [f"--videos={options.videos[0]}", f"--checkpoint={options.checkpoint}"]
    words += [f"--data={options.data}", f"--out={options.out}"]
    monkeypatch.setattr(sys, "argv", ["adaptation", *words])
    with pytest.raises(SystemExit) as end:
        adaptation.cli()
    assert str(end.value.code).startswith(f"benchmarks: {options.checkpoint}: ")
    assert "\n" not in str(end.value.code)
