# SPDX-License-Identifier: Apache-2.0
"""`i2z convert` and `i2z inspect` as a user meets them."""

import builtins
import hashlib
import json
from pathlib import Path

import pytest
import torch

from i2z_jax.checkpoint import load, read_card
from i2z_jax.commands import convert, inspect
from i2z_jax.config import HourglassConfig
from i2z_jax.convert import fan
from i2z_jax.convert.mapping import MismatchError
from i2z_jax.data.multiface import Layout, Statistics, write_statistics
from i2z_jax.errors import InputError
from tests.command_line import i2z, refusal
from tests.convert.conftest import SMALL
from tests.convert.dam_checkpoint import random_statistics, random_tensors, tiny
from tests.processes import finish, start


def refused(path: Path, arch: str = "auto", **options) -> str:
    """Run the command, which must fail and leave nothing beside its input."""
    out = options.pop("out", path.parent / "out")
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(InputError) as caught:
        convert.run(convert.Config(arch, path, out, **options))
    assert sorted(path.parent.rglob("*")) == before
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.fixture
def dam_checkpoint(tmp_path) -> Path:
    return write_dam(tmp_path / "best_model.pth")


def write_dam(path: Path, dtype: torch.dtype = torch.float32) -> Path:
    tensors = {n: torch.from_numpy(x) for n, x in random_tensors(tiny(), 0).items()}
    torch.save({f"module.{n}": x.to(dtype) for n, x in tensors.items()}, path)
    return path


def write_capture(folder: Path, vertices: int) -> Path:
    folder.mkdir()
    files = random_statistics(tiny(vertices=vertices), 0)
    statistics = Statistics(
        files["tex_mean.png"],
        float(files["tex_var.txt"]),
        files["vert_mean.bin"],
        float(files["vert_var.txt"]),
    )
    write_statistics(Layout(folder), statistics)
    return folder


def test_convert_verify_and_inspect_end_to_end(published, tmp_path, capsys):
    path = published("princeton", prefix="model.module.")
    out = tmp_path / "models" / "hourglass"
    assert i2z("convert", "auto", path, "--out", out, "--verify") == 0
    said = capsys.readouterr().out
    for words in ("princeton", "heatmaps 2", "max-abs", "skip convolutions", "BSD"):
        assert words in said
    assert i2z("inspect", out) == 0
    said = capsys.readouterr().out
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for words in ("hourglass", "residual", "princeton.pth", digest):
        assert words in said
    assert "already exists" in refusal(capsys, "convert", "auto", path, "--out", out)
    assert load(out).stacks[1].merge_features is None


def test_overwrite_replaces(published, tmp_path):
    config = convert.Config("vgg", published("vgg"), tmp_path / "out")
    convert.run(config)
    (config.out / "mine.txt").touch()
    convert.run(convert.Config("vgg", published("vgg"), config.out, overwrite=True))
    assert not (config.out / "mine.txt").exists()
    assert read_card(config.out).config == SMALL["vgg"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dam_with_its_statistics(tmp_path, dtype):
    dam_checkpoint = write_dam(tmp_path / "best_model.pth", dtype)
    capture = write_capture(tmp_path / "capture", 35)
    out = tmp_path / "dam"
    convert.run(convert.Config("auto", dam_checkpoint, out, verify=True, stats=capture))
    assert read_card(out).config == tiny()
    assert "NC" in read_card(out).licence


def test_dam_without_statistics(dam_checkpoint, tmp_path):
    assert "--stats DIR" in refused(dam_checkpoint)
    (tmp_path / "empty").mkdir()
    said = refused(dam_checkpoint, stats=tmp_path / "empty")
    assert "tex_mean.png, tex_var.txt, vert_mean.bin, vert_var.txt" in said


def test_dam_for_another_topology(dam_checkpoint, tmp_path):
    said = refused(dam_checkpoint, stats=write_capture(tmp_path / "capture", 36))
    assert "another topology" in said
    assert "expected 35 vertices, got 36" in said


def test_wrong_architecture_is_named(published):
    said = refused(published("vgg"), "fan")
    assert "is not a fan checkpoint (got vgg)" in said
    assert "i2z convert vgg" in said


def test_unknown_network(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"layer1.0.weight": torch.zeros(2)}, path)
    assert "not of a known family" in refused(path)
    said = refused(path, "dam")
    assert "is not a dam checkpoint" in said
    assert "enc.mesh_fc.g" in said


def test_another_vgg(published):
    def shorten(state):
        for name in [n for n in state if n.startswith(("features.40", "features.41"))]:
            del state[name]

    assert "12 convolutions; VGG-16 has 13" in refused(published("vgg", change=shorten))


def test_other_landmarks(published, tmp_path):
    config = HourglassConfig(stacks=1, stem=(4, 8), features=8, landmarks=98, depth=1)
    path = published("fan", config)
    said = refused(path)
    assert "landmarks (expected 68, got 98)" in said
    convert.run(convert.Config("fan", path, tmp_path / "out", landmarks=98))
    assert read_card(tmp_path / "out").config.landmarks == 98


def test_every_mismatch_at_once(published, capsys):
    def damage(state):
        del state["top_m_0.bn2.weight"]
        del state["m1.b3_2.conv1.weight"]
        state["conv5.weight"] = torch.zeros(3)
        state["bl0.weight"] = torch.zeros(12, 13, 1, 1)

    path = published("fan", change=damage)
    with pytest.raises(MismatchError) as caught:
        convert.run(convert.Config("fan", path, path.parent / "out"))
    found = {(m.kind, m.torch, m.flax) for m in caught.value.mismatches}
    assert found == {
        ("missing", "top_m_0.bn2.weight", "stacks.0.top.bn2.scale"),
        (
            "missing",
            "m1.b3_2.conv1.weight",
            "stacks.1.hourglass.low2.low2.low3.conv1.kernel",
        ),
        ("unexpected", "conv5.weight", ""),
        ("wrong shape", "bl0.weight", "stacks.0.merge_features.kernel"),
    }
    assert "2 missing, 1 unexpected, 1 wrong shape" in str(caught.value)
    assert "12x13x1x1 -> 1x1x13x12" in capsys.readouterr().err
    assert not (path.parent / "out").exists()


def test_weights_that_are_not_finite(published, capsys):
    def diverge(state):
        state["bl0.weight"][0, 0] = torch.nan
        state["conv1.bias"][0] = torch.inf

    path = published("fan", change=diverge)
    with pytest.raises(MismatchError, match=r"2 not finite.*another checkpoint"):
        convert.run(convert.Config("fan", path, path.parent / "out"))
    said = capsys.readouterr().err
    assert "not finite: bl0.weight -> stacks.0.merge_features.kernel (1 of " in said
    assert "not finite: conv1.bias -> " in said
    assert not (path.parent / "out").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>Not found</html>", "is a web page"),
        (b"PK\x03\x04 and then the line broke", "damaged or truncated"),
    ],
)
def test_file_that_is_no_checkpoint(tmp_path, content, says):
    path = tmp_path / "vgg19.pth"
    path.write_bytes(content)
    assert says in refused(path, "vgg")


def test_missing_file(tmp_path):
    assert "no such file" in refused(tmp_path / "vgg.pth", "vgg")


def test_unwritable_output(published, tmp_path):
    (tmp_path / "file").write_text("in the way")
    said = refused(published("vgg"), out=tmp_path / "file" / "model")
    assert "cannot write here" in said


def test_a_difference_to_pytorch_writes_nothing(published, monkeypatch):
    monkeypatch.setattr("i2z_jax.models.vgg.MEAN", (0.4, 0.4, 0.4))
    said = refused(published("vgg"), verify=True)
    assert "differs from PyTorch at conv3; nothing was written" in said


def test_verify_without_pytorch_names_the_extra(published, monkeypatch):
    path = published("vgg")
    real = builtins.__import__

    def without_torch(name, *rest):
        if name == "torch":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    assert "pip install '.[torch]' in a checkout" in refused(path, verify=True)


def test_reading_and_converting_needs_no_pytorch(published):
    program = (
        "import sys\n"
        "from i2z_jax.convert.convert import convert\n"
        "convert(sys.argv[1])\n"
        "assert 'torch' not in sys.modules"
    )
    finish(start("-c", program, published("vgg")))


@pytest.mark.parametrize(("preset", "trained"), [("paper", 141e6), ("tiny", 2.4e6)])
def test_inspect_a_preset(capsys, preset, trained):
    inspect.run(inspect.Config(preset))
    rows = capsys.readouterr().out.splitlines()
    total = next(row for row in rows if row.startswith("│ all"))
    count = int(total.split("│")[2].replace(",", ""))
    assert count == pytest.approx(trained, rel=0.02)


def test_inspect_the_folder_of_a_run(published, tmp_path, capsys):
    result = tmp_path / "system" / "i2znet"
    convert.run(convert.Config("fan", published("fan"), result))
    inspect.run(inspect.Config(str(tmp_path)))
    assert "hourglass" in capsys.readouterr().out
    for given, says in (("no", "no such folder"), ("model.json", "is a file")):
        with pytest.raises(InputError, match=says):
            inspect.run(inspect.Config(str(result / given)))


def test_card_is_plain_json(published, tmp_path):
    convert.run(convert.Config("fan", published("fan"), tmp_path / "out"))
    content = json.loads((tmp_path / "out" / "model.json").read_text())
    assert content["licence"] == fan.PUBLISHED.licence
    assert content["source"]["file"] == "fan.pth"
    assert content["config"]["stacks"] == 2
