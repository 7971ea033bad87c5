# SPDX-License-Identifier: Apache-2.0
"""Does adaptation work? `python -m benchmarks.adaptation --help`.

On videos with ground truth: the vertex error on held-out frames before, after, and of
an oracle, the same network fine-tuned on the true meshes and poses of the very frames
that adaptation learned from, as many steps of the same size. Gap closed = (before -
after) / (before - oracle), DESIGN section 10.
"""

import hashlib
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import tyro
from rich.table import Table

from i2z_jax import console
from i2z_jax.commands.adapt import RUN, Config
from i2z_jax.data.truth import truth_path
from i2z_jax.dataclass_json import to_json
from i2z_jax.errors import InputError
from i2z_jax.evaluate.tables import cell
from i2z_jax.files import versions, write_json
from i2z_jax.geometry.camera import ARM_LENGTH_MM, nearness_of
from i2z_jax.objectives.adapt import AdaptWeights
from i2z_jax.sharding import replicate
from i2z_jax.system import load_system
from i2z_jax.train.adapt import Outcome, adapt
from i2z_jax.train.adapt_data import check_system, prepare
from i2z_jax.train.adapt_video import built_video
from i2z_jax.train.landmark_bias import LandmarkBias
from i2z_jax.train.run import RunConfig, run_mesh
from i2z_jax.train.workdir import hold

# What a term buys is what is lost without it.
ABLATION: dict[str, dict[str, float]] = {
    "all terms": {},
    "without FL": {"landmarks": 0.0},
    "without CFTC": {"consistency": 0.0},
    "without MOTC": {"appearance": 0.0},
    "without prior": {"prior": 0.0},
    "without replay": {"replay": 0.0},
    "FL alone": {"consistency": 0.0, "appearance": 0.0},
    "CFTC alone": {"landmarks": 0.0, "appearance": 0.0},
    "MOTC alone": {"landmarks": 0.0, "consistency": 0.0},
}
NO_BIAS = "all terms, landmarks as the topology has them"
NO_REHEARSAL = "without rehearsal"


@dataclass(frozen=True)
class Options:
    """Adapt to videos of known truth, and compare with an oracle."""

    # Videos with their sidecars (`i2z synth video`), or built ones.
    videos: tuple[Path, ...]
    # The tracker (`i2z train regress`).
    checkpoint: Path
    # The built capture that it was trained on.
    data: Path
    # Where runs and results.json go; what is there of the same files and options is
    # not done again.
    out: Path
    # How far the videos' camera is, mm; those of `i2z synth video` are at 560.
    distance_mm: float = ARM_LENGTH_MM
    # Seeds of data order and replay.
    seeds: tuple[int, ...] = (0,)
    # Also without each term, on the first seed.
    ablation: bool = False
    weights: AdaptWeights = field(default_factory=AdaptWeights)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = RUN


def main(options: Options) -> None:
    """Run what is missing and print the table."""
    results = options.out / "results.json"
    rows = json.loads(results.read_text()) if results.exists() else []
    done = {(row.get("measured"), row["variant"]) for row in rows}
    asked = set()
    for video in options.videos:
        for seed in options.seeds:
            measured = key(options, video, seed)
            asked.add(measured)
            variants = ["all terms"]
            if options.ablation and seed == options.seeds[0]:
                variants = [*ABLATION, NO_REHEARSAL, NO_BIAS]
            missing = [v for v in variants if (measured, v) not in done]
            if not missing:
                continue
            workdir = options.out / f"{video.stem}-{measured}"
            for row in measure(options, video, seed, missing, workdir):
                rows.append({"measured": measured} | row)
                write_json(results, rows)
                console.out.print(row)
    console.show_table(table([row for row in rows if row.get("measured") in asked]))


def key(options: Options, video: Path, seed: int) -> str:
    """What tells the figures of one video and seed from others: the files that are
    read, in their present versions, and the options."""
    read = {
        "video": _stamp(video),
        "checkpoint": _stamp(options.checkpoint),
        "data": _stamp(options.data),
    }
    run = replace(options.run, seed=seed)
    chosen = {"mm": options.distance_mm, "weights": options.weights, "run": run}
    return _digest([read, to_json(chosen)])


def _stamp(path: Path) -> list[Any]:
    """Files: where they are, and their versions."""
    path = path.resolve()
    files = [path, truth_path(path)]
    if path.is_dir():
        files += sorted(p for p in path.rglob("*") if p.is_file())
        files.remove(path)  # whose time changes with what is written beside
    return [[str(file) for file in files], versions(*files)]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def measure(
    options: Options, video: Path, seed: int, variants: list[str], workdir: Path
):
    """One video, one seed: a row of figures for each variant.

    Args:
        workdir: of the runs; no others were in it.

    Raises:
        InputError: the tracker, the video or the capture is none; a run was asked to
            stop.
    """
    run = replace(options.run, seed=seed)
    mesh = run_mesh(run)
    system = load_system(options.checkpoint, dtype=run.compute_dtype)
    check_system(system, options.checkpoint)
    crops = options.out / f"{video.stem}-{_digest(str(video.resolve()))}"
    config = Config(video, options.checkpoint, crops, options.data)
    data = prepare(
        system,
        built_video(video, crops, crop_size=system.image_size),
        options.data,
        nearness=nearness_of(options.distance_mm),
        share_held_out=config.held_out,
        most_pairs=config.pairs,
        replayed=config.replay,
        rehearsed=config.rehearse,
        seed=seed,
        dtype=run.compute_dtype,
        mesh=mesh,
    )
    with hold(workdir / "oracle"):
        oracle = adapt(
            system, data, workdir=workdir / "oracle", config=run,
            weights=options.weights, mesh=mesh, supervised=True,
        )  # fmt: skip
    best = _finished(oracle).after
    plain = LandmarkBias.none(68)
    for variant in variants:
        ours, weights = data, options.weights
        if variant == NO_BIAS:
            face = data.face._replace(
                landmark_offset=jnp.asarray(plain.offset, jnp.float32),
                landmark_trust=jnp.asarray(plain.trust, jnp.float32),
            )
            ours = data._replace(face=replicate(face, mesh))
        elif variant == NO_REHEARSAL:
            # The lab's views come first, however many there are.
            count = len(data.replay.z) - config.rehearse
            lab = data.replay.rows(np.arange(count))
            ours = data._replace(replay=replicate(lab, mesh))
        else:
            weights = replace(weights, **ABLATION[variant])
        place_of_run = workdir / variant.replace(" ", "-").replace(",", "")
        with hold(place_of_run):
            outcome = adapt(
                system, ours, workdir=place_of_run, config=run, weights=weights,
                mesh=mesh,
            )  # fmt: skip
        outcome = _finished(outcome)
        before, after = outcome.before["vertex_mm"], outcome.after["vertex_mm"]
        yield {
            "video": str(video),
            "checkpoint": str(options.checkpoint),
            "seed": seed,
            "variant": variant,
            "before": before,
            "after": after,
            "oracle": best["vertex_mm"],
            "gap_closed": (before - after) / (before - best["vertex_mm"]),
            "pose_px": [outcome.before["pose_px"], outcome.after["pose_px"]],
            # None where the capture holds nothing out.
            "lab_vertex_mm": [
                figures.get("lab_vertex_mm")
                for figures in (outcome.before, outcome.after)
            ],
            "step": outcome.best_step,
            "collapse": outcome.collapse,
        }  # fmt: skip


def _finished(outcome: Outcome | None) -> Outcome:
    if outcome is None:
        raise InputError("asked to stop", fix="the same command goes on")
    return outcome


def table(rows: list[dict]) -> Table:
    """Vertex error in mm on held-out frames."""
    found = Table(
        "video", "seed", "variant", "before", "after", "oracle", "gap closed",
        "lab before, after", "pose px before, after",
        title="adaptation: vertex error, mm, held-out frames",
    )  # fmt: skip
    for row in rows:
        found.add_row(
            row["video"], str(row["seed"]), row["variant"],
            *(f"{row[name]:.3f}" for name in ("before", "after", "oracle")),
            f"{100 * row['gap_closed']:.0f} %",
            *(
                ", ".join(map(cell, row[name]))
                for name in ("lab_vertex_mm", "pose_px")
            ),
        )  # fmt: skip
    return found


def cli() -> None:
    """The command line: bad input is one line."""
    try:
        main(tyro.cli(Options))
    except InputError as error:
        sys.exit(f"benchmarks: {error}")


if __name__ == "__main__":
    cli()
