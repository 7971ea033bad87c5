# SPDX-License-Identifier: Apache-2.0
"""The demo's page, from a folder as the stages leave it; their files are made up."""

import json
import re

import numpy as np
import pytest

from i2z_jax.data.images import encode
from i2z_jax.report.demo_adaptation import verdict
from i2z_jax.report.demo_page import Step, demo_page
from i2z_jax.report.gltf import write_glb
from i2z_jax.report.morphs import Morphs
from tests.data.captures import egg
from tests.data.clips import write_clip
from tests.evaluate import worlds
from tests.track import worlds as faces
from tests.track.tracks import STILL, track

FRAMES = 12
STEPS = (
    Step("capture", "i2z synth capture --out demo_out/capture", 60.0),
    Step("adapt", "i2z adapt --workdir demo_out/adapt", 90.0),
)
SUMMARY = {"minutes_total": 2.5, "peak_memory_mib": 1536}


def row(predictor, vertex_mm, pose_px=4.0):
    return {
        "predictor": predictor, "frames": 3, "vertex_mm": vertex_mm,
        "pose_px": pose_px, "mouth_mm": 2 * vertex_mm,
    }  # fmt: skip


BEFORE, ORACLE = row("a", 2.0), row("oracle", 1.0, 2.0)
AFTER = {**row("b", 1.5, 3.0), "gap_closed": 0.5}
TRUTH = {"predictor": "ground truth", "frames": 3, "jitter_px": 0.5}


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_video(out, rows):
    """`video.json` of the systems given, and of the truth."""
    curves = [
        {"predictor": r["predictor"], "vertex_mm": [r["vertex_mm"]] * FRAMES}
        for r in rows
    ]
    frames = {
        "time_s": (np.arange(FRAMES) / 30).tolist(),
        "counted": [i in (4, 5, 6) for i in range(FRAMES)],
        "predictors": curves,
    }
    write_json(out / "video.json", {"rows": [*rows, TRUTH], "frames": frames})


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A finished demo's folder."""
    out = tmp_path_factory.mktemp("demo")
    worlds.capture(out).rename(out / "data")
    poses = np.tile([0.008, 0.0, 0.1, 0.0, 0.0, 0.0], (FRAMES, 1))
    worlds.video(out / "data", poses, np.tile(egg()[None], (FRAMES, 1, 1)))
    pictures = [faces.picture(60 + i, 60) for i in range(FRAMES)]
    write_clip(out / "wild.mp4", pictures)
    (out / "tracked").mkdir()
    write_clip(out / "tracked" / "overlay.mp4", pictures)
    base = faces.average().astype(np.float32)
    shape = Morphs(base, np.zeros((1, *base.shape), np.float32),
                   np.zeros((len(STILL), 1), np.float32), 0.01,
                   np.full(len(STILL), 0.001))  # fmt: skip
    texture = np.full((32, 32, 3), 200, np.uint8)
    glb = out / "tracked" / "mesh.glb"
    write_glb(glb, track(STILL), shape, faces.topology(), texture)
    for stage, metric in (("landmarks", "nme"), ("dam", "vertex_mm"),
                          ("regress", "vertices")):  # fmt: skip
        lines = [{"step": s, metric: 1 / s} for s in (10, 20, 30)]
        lines[-1][f"eval/{metric}"] = 0.05
        (out / stage).mkdir()
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (out / stage / "metrics.jsonl").write_text(text)
    (out / "pictures").mkdir()
    for name in ("seen_test", "comparison"):
        picture = encode(pictures[0], "png")
        (out / "pictures" / f"{name}.png").write_bytes(picture)
    write_json(out / "capture.json", {"rows": [row("network", 1.2)]})
    guard = {
        "0": {"score": 2.0, "vertex_mm": 2.0},
        "50": {"score": 1.0, "vertex_mm": 1.5},
        "100": {"score": None, "vertex_mm": 9.0},  # not finite
    }
    write_json(out / "adapt" / "guard.json", guard)
    write_json(out / "adapt" / "adaptation.json", {"best_step": 50})
    return out


def words(html: str) -> str:
    return re.sub(r"<[^>]*>", " ", html)


def test_it_says_what_was_reached(out):
    write_video(out, [BEFORE, AFTER, ORACLE])
    text = words(demo_page(out, SUMMARY, STEPS))
    assert "2.00 mm from the truth before adaptation and 1.50 mm after it" in text
    assert "adaptation closed 50 %" in text
    assert "1.00 mm (the oracle)" in text
    assert "i2z adapt --workdir demo_out/adapt" in text
    assert "The network of step 50 was kept" in text
    assert "What each part is for" not in text


def test_what_is_worse_is_said_to_be():
    # The oracle is no better: there is no gap to close a share of.
    before, oracle = row("a", 1.0), row("oracle", 1.0)
    worse, same = ({**row("b", mm), "gap_closed": None} for mm in (1.1, 1.0))
    assert "10 % more" in verdict([before, worse, oracle], kept=50)
    assert "was kept" in verdict([before, same, oracle], kept=0)
    assert "closed" not in verdict([before, same, oracle], kept=50)


def test_an_ablation_is_shown_with_the_published_figures(out, tmp_path):
    write_video(out, [BEFORE, AFTER, ORACLE])
    score = {"geometry_mm": 0.255, "pose_px": None, "texture": None}
    ablation = dict.fromkeys(("view", "color", "light", "jitter", "background"), score)
    rows = [{"variant": "vgg", "whose": "published", **ablation}]
    write_json(out / "ablation.json", {"rows": rows, "notes": ["Not comparable."]})
    try:
        text = words(demo_page(out, SUMMARY, STEPS))
    finally:
        (out / "ablation.json").unlink()
    assert "0.255 / - / -" in text
    assert "Not comparable." in text


def test_it_opens_and_the_head_is_drawn(out, visit):
    write_video(out, [BEFORE, AFTER, ORACLE])
    seen = visit(demo_page(out, SUMMARY, STEPS))
    assert not seen.complaints
    assert seen.drawn > 0.05
