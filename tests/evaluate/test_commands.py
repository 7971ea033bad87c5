# SPDX-License-Identifier: Apache-2.0
"""The four commands from a checkpoint on disk to JSON and pictures, on any devices."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from i2z_jax.checkpoint import ModelCard, save_model
from i2z_jax.commands.evaluate_options import EvaluateOptions
from i2z_jax.commands.evaluate_options import finish as finish_report
from i2z_jax.config import HourglassConfig
from i2z_jax.errors import InputError
from i2z_jax.evaluate import capture
from i2z_jax.evaluate.tables import Column, Report
from i2z_jax.models.hourglass import Hourglass
from i2z_jax.models.parameters import freeze
from i2z_jax.system import System, load_system, save_system
from tests.command_line import i2z, refusal
from tests.data import tiny_datasets
from tests.data.captures import egg
from tests.evaluate import worlds
from tests.models.weights import random_module
from tests.processes import finish, start
from tests.xla import simulated

KINDS = ("capture", "landmarks", "video", "ablation")


@pytest.fixture(scope="module")
def place(tmp_path_factory, built):
    """A folder with a saved system and a dataset of each kind."""
    folder = tmp_path_factory.mktemp("place")
    net_card, dam_card = worlds.cards(300)
    net = random_module("i2znet", net_card.config)
    freeze(net.hourglass)
    # A pose that shows the face; random weights say anything.
    net.pose_mean[...] = np.float32([0.008, 0, 0, 0, 0, 0])
    net.pose_std[...] = np.float32([1e-4, 0.02, 0.02, 0.02, 0.02, 0.02])
    dam = random_module("dam", dam_card.config, seed=1)
    dam.statistics.set(
        vert_mean=egg(), vert_var=1.0, tex_mean=0.5 * np.ones((32, 32, 3)), tex_var=0.01
    )
    system = System(net, dam, worlds.topology(), net_card, dam_card)
    save_system(folder / "system", system)
    poses = np.tile([0.008, 0.0, 0.1, 0.0, 0.0, 0.0], (6, 1))
    poses[:, 4] = np.linspace(0, 0.1, 6)
    worlds.video(folder / "data", poses, np.tile(egg()[None], (6, 1, 1)))
    worlds.landmark_pictures(folder / "data")
    return folder


def arguments(place, built, kind: str, out, *, batch: int, pictures: bool) -> list[str]:
    data = built if kind in ("capture", "ablation") else place / "data"
    more = ["--pictures", str(out / f"{kind}_pictures")] if pictures else []
    return [
        "evaluate", kind, str(place / "system"), "--data", str(data),
        "--batch-size", str(batch), "--json", str(out / f"{kind}.json"), *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def here(place, built, tmp_path_factory):
    """Every command in this process: one device, three examples at a time."""
    out = tmp_path_factory.mktemp("here")
    for kind in KINDS:
        assert i2z(*arguments(place, built, kind, out, batch=3, pictures=True)) == 0
    return out


def numbers(value) -> list[float]:
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [number for part in parts for number in numbers(part)]
    return [value] if isinstance(value, int | float) else []


def test_eight_devices_say_the_same_as_one(place, built, here, tmp_path):
    assert len(jax.devices()) == 1
    lines = [
        arguments(place, built, kind, tmp_path, batch=8, pictures=False)
        for kind in KINDS
    ]
    program = (
        "import json, sys\n"
        "import jax\n"
        "from i2z_jax import commands\n"
        "assert len(jax.devices()) == 8\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        commands.main(line)\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0\n"
    )
    process = start("-c", program, json.dumps(lines), environment=simulated(8))
    finish(process, within=600)
    for kind in KINDS:
        ours, theirs = (
            json.loads((folder / f"{kind}.json").read_text())["rows"]
            for folder in (here, tmp_path)
        )
        assert len(numbers(ours)) >= 10 or kind == "landmarks"
        # Sums of a float32 network in another order; a texel's visibility can flip.
        np.testing.assert_allclose(numbers(ours), numbers(theirs), rtol=2e-4, atol=1e-5)


def test_json_says_how_to_repeat_it(place, here):
    for kind in KINDS:
        report = json.loads((here / f"{kind}.json").read_text())
        assert report["command"] == f"evaluate {kind}"
        assert str(place / "system") in str(report["settings"])
        assert report["rows"]


def test_ablation_prints_ours_beside_the_published(here):
    ours, published = json.loads((here / "ablation.json").read_text())["rows"]
    assert (ours["variant"], ours["whose"]) == ("vgg+skip+key", "ours")
    assert published["view"]["geometry_mm"] == 0.255
    assert ours["view"]["geometry_mm"] > 0
    assert ours["jitter"]["pose_px"] > 0


def test_pictures_are_pictures(here):
    written = {p.parent.name + "/" + p.name for p in here.glob("*_pictures/*.png")}
    assert {
        "capture_pictures/error_map_test.png",
        "capture_pictures/worst_test.png",
        "capture_pictures/seen_test.png",
        "video_pictures/comparison.png",
        "landmarks_pictures/ced_common.png",
        "landmarks_pictures/worst_common_mesh.png",
        "ablation_pictures/scenarios.png",
    } <= written
    for path in here.glob("*_pictures/*.png"):
        image = np.asarray(Image.open(path))
        assert image.shape[2] == 3
        assert image.std() > 5, f"{path.name} is blank"


def test_bad_input_is_one_line(place, built, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(capture, "encode_frames", None)  # all is refused before
    system = load_system(place / "system")
    topology = system.topology
    turned = replace(topology, faces=np.roll(topology.faces, 1, axis=1))
    save_system(tmp_path / "other", system._replace(topology=turned))
    file = tmp_path / "file"
    file.touch()
    hourglass = tmp_path / "hourglass"
    sizes = HourglassConfig(stacks=1, stem=(4, 8), features=8)
    network = Hourglass(sizes, rngs=nnx.Rngs(0))
    save_model(hourglass, network, ModelCard("hourglass", sizes, "for tests"))
    cases = [
        (["capture", str(tmp_path / "other"), "--data", str(built)], "triangles"),
        (
            ["capture", str(place), "--data", str(built)],
            f"not a tracker: no folders i2znet and dam; give {place / 'system'}",
        ),
        (["capture", str(file), "--data", str(built)], "file: is a file (expected the"),
        (["landmarks", "no", "--data", str(built)], "no: no such folder"),
        (
            ["capture", str(place / "system"), "--data", str(built), "--split", "no"],
            "no such split",
        ),
        (
            [
                *("capture", str(place / "system"), "--data", str(built)),
                f"--texture-mask={file}",
            ],
            "file: empty file",
        ),
        (
            ["landmarks", str(place / "system" / "dam"), "--data", str(built)],
            "neither a hourglass nor a tracker",
        ),
        (["landmarks", str(hourglass), "--data", "no", "--normaliser"], "no normalis"),
        (["video", str(place / "system"), "--data", str(built)], "no built"),
        (
            ["ablation", str(place / "system"), "--data", str(built), "--batch-size=0"],
            "--batch-size",
        ),
        *(
            (
                ["landmarks", str(hourglass), "--data", "no", f"--image-size={size}"],
                f"--image-size: does not halve (expected a multiple of 64, got {size})",
            )
            for size in (0, -64, 100)
        ),
        # Before the work, whatever else is wrong.
        (["capture", "no", "--data", "no", f"--pictures={file}"], "file: is a file"),
        (["capture", "no", "--data", "no", f"--json={file}/a"], "file: is a file"),
        (["capture", "no", "--data", "no", f"--json={tmp_path}"], "is a folder"),
        (["video", "no", "--data", "no", "--held-out=-0.5"], "--held-out: out of"),
        (["video", "no", "--data", "no", "--held-out=3"], "--held-out: out of range"),
        (["ablation", "no", "--data", "no", "--views=-3"], "--views: too small"),
    ]
    for line, message in cases:
        said = refusal(capsys, "evaluate", *line)
        assert said.startswith(f"i2z evaluate {line[0]}:")
        assert message in said


def test_a_picture_that_fails_costs_no_figures(tmp_path, capsys):
    options = EvaluateOptions(json=tmp_path / "r.json", pictures=tmp_path)

    def draw(folder):
        raise InputError("no room", where=folder)

    report = Report("evaluate video", {}, [{"predictor": "ours", "error": 1.25}])
    with pytest.raises(InputError, match="no room"):
        finish_report(options, report, [Column("error", "error")], draw)
    assert "1.250" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["rows"][0]["error"] == 1.25


def test_the_gap_that_was_closed_is_that_of_held_out_frames(place, tmp_path, capsys):
    """Trackers whose mesh stands 4, 3 and 1.5 mm off: 0.4 of the gap."""
    system = load_system(place / "system")
    for name, offset in (("before", 4.0), ("after", 3.0), ("oracle", 1.5)):
        # All that it decodes is its mean.
        dam = nnx.clone(system.dam)
        dam.statistics.set(vert_mean=egg() + np.array([0, 0, offset]), vert_var=0.0)
        save_system(tmp_path / name, system._replace(dam=dam))
    before, after, oracle = (tmp_path / n for n in ("before", "after", "oracle"))
    out = tmp_path / "r.json"
    # Twice the same has one row.
    line = ["video", before, after, before, "--oracle", oracle]
    assert i2z("evaluate", *line, "--data", place / "data", "--json", out) == 0
    assert "Means over the frames" in " ".join(capsys.readouterr().out.split())
    report = json.loads(out.read_text())
    first, second, third, _ = report["rows"]
    assert [r["vertex_mm"] for r in (first, second, third)] == pytest.approx(
        [4.0, 3.0, 1.5], rel=1e-4
    )
    assert second["gap_closed"] == pytest.approx(0.4, rel=1e-3)
    assert "gap_closed" not in first | third
    assert first["frames"] == sum(report["frames"]["counted"]) == 2  # of six


def test_an_oracle_needs_truth(place, tmp_path, capsys):
    """Without ground truth there is no gap to close."""
    tiny_datasets.video(tmp_path, cut=[0], duplicate=[], frames=3)
    system = place / "system"
    line = ["video", system, "--oracle", system, "--data", tmp_path]
    assert "no ground truth" in refusal(capsys, "evaluate", *line)
