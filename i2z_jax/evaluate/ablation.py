# SPDX-License-Identifier: Apache-2.0
"""The paper's ablation: every variant under every scenario, before against after.

All variants see a batch together. A picture's frozen streams do not depend on the
variant: variants with the same VGG share one pass through the richest one's streams.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax import checkpoint, console
from i2z_jax.chunks import chunks
from i2z_jax.config import I2ZConfig
from i2z_jax.data.batches import Picked
from i2z_jax.data.capture_source import only_source
from i2z_jax.data.perturb import PERTURBATIONS, Scenario
from i2z_jax.data.pipeline import Views
from i2z_jax.errors import InputError
from i2z_jax.evaluate import scenarios
from i2z_jax.evaluate.metrics import colour_difference, distance, pose_distance
from i2z_jax.evaluate.predict import (
    Arrays,
    FaceModel,
    MeshTables,
    Runner,
    face_model,
    require_same_mesh,
    stacked,
)
from i2z_jax.evaluate.scenarios import FrameViews, Score
from i2z_jax.evaluate.tables import Column, Row
from i2z_jax.geometry.camera import view_direction
from i2z_jax.geometry.crop import transform_pose
from i2z_jax.geometry.sampling import unit_range
from i2z_jax.models.features import StreamMaps
from i2z_jax.sharding import to_global
from i2z_jax.system import System
from i2z_jax.types import Array, Float, NDArray

COLUMNS = (
    Column("variant", "variant"),
    Column("whose", "mm / px / texture"),
    *(Column(scenario, scenario.title()) for scenario in scenarios.SCENARIOS),
)


class States(NamedTuple):
    """What the networks said of some views: a row a view, an entry a network."""

    z: list[Float[NDArray, "e z"]]
    pose: list[Float[NDArray, "e 6"]]


def evaluate_ablation(
    systems: Sequence[System],
    directory: str | Path,
    split: str,
    runner: Runner,
    *,
    views: int = 400,
) -> list[dict[Scenario, Score]]:
    """Scores of each system under each scenario.

    Args:
        systems: one or more variants.
        views: about how many views take part, whole frames; 0 for all.

    Raises:
        InputError: no such split, another mesh than a system's, or systems that read
            crops of different sizes.
    """
    sizes = sorted({system.image_size for system in systems})
    if len(sizes) != 1:
        raise InputError(
            "the checkpoints read crops of different sizes",
            expected="variants of one network",
            got=" and ".join(f"{size} px" for size in sizes),
        )
    topology = only_source(directory).topology
    for system in systems:
        require_same_mesh(topology, system, directory)
    source = Views(directory, split)
    if not len(source):
        raise InputError("no examples in this split", where=directory, got=split)
    frames = scenarios.chosen_frames(source, views)
    picked = Picked(source, np.concatenate([frame.rows for frame in frames]))
    models = runner.place([face_model(system) for system in systems])
    # Static: which network's streams serve which network.
    groups = stream_groups(systems)

    @jax.jit
    def look(models: list[FaceModel], batch: Mapping[str, Array]) -> Arrays:
        outputs = encode([m.net for m in models], groups, unit_range(batch["image"]))
        poses = [output.pose for output in outputs]
        if "unit_back" in batch:
            poses = [transform_pose(pose, batch["unit_back"]) for pose in poses]
        return {"z": [output.z for output in outputs], "pose": poses}

    def states(scenario: Scenario | None) -> States:
        change = scenarios.change_for(scenario, sizes[0])
        what = scenario or "unchanged"
        batches = runner.rows(picked, look, models, what=what, change=change)
        return States(**stacked([result for _, result in batches]))

    before = states(None)
    scores: list[dict[Scenario, Score]] = [
        {"view": Score(_view_score(m.dam, z, frames), None, None)}
        for m, z in zip(models, before.z, strict=True)
    ]
    for scenario in PERTURBATIONS:
        after = states(scenario)
        for i, model in enumerate(models):
            scores[i][scenario] = _compare(
                model,
                (before.z[i], before.pose[i]),
                (after.z[i], after.pose[i]),
                runner,
                what=f"{systems[i].net_card.config.name} {scenario}",
            )
    return scores


def encode(nets: list, groups: list[int], image: Float[Array, "b h w 3"]) -> list:
    """Output of every network; `groups[i]` is the network whose streams i reads."""
    maps = {i: nets[i].streams(image) for i in set(groups)}
    return [
        net.regress(_only(maps[group], net))
        for net, group in zip(nets, groups, strict=True)
    ]


def _only(maps: StreamMaps, net) -> StreamMaps:
    """A variant without a landmark stream answers without landmarks."""
    return maps if net.hourglass is not None else maps._replace(heatmaps=None)


def stream_groups(systems: Sequence[System]) -> list[int]:
    """For each system the one whose streams give it all it reads.

    Networks share streams when their frozen VGGs, and hourglasses if they have one,
    are the same to the bit.
    """

    def same(a, b) -> bool:
        ours, theirs = (checkpoint.named_arrays(x) for x in (a, b))
        return ours.keys() == theirs.keys() and all(
            np.array_equal(ours[name], theirs[name]) for name in ours
        )

    def serves(rich, poor) -> bool:
        if rich.trains_streams or poor.trains_streams or rich.levels < poor.levels:
            return False
        if poor.hourglass is not None and (
            rich.hourglass is None or not same(rich.hourglass, poor.hourglass)
        ):
            return False
        return same(rich.vgg, poor.vgg)

    nets = [system.net for system in systems]
    # The richest first, so that as many as possible read from one.
    order = sorted(
        range(len(nets)),
        key=lambda i: (nets[i].hourglass is None, -nets[i].levels, i),
    )
    return [
        next((j for j in order if j == i or serves(nets[j], nets[i])), i)
        for i in range(len(nets))
    ]


@jax.jit
def _vertices(dam, z: Float[Array, "b z"]) -> Float[Array, "b n 3"]:
    return dam.decode_vertices(z)


def _view_score(dam, z: NDArray, frames: list[FrameViews]) -> float | None:
    """Mean vertex distance to the central camera's prediction, other cameras, mm."""
    start, errors = 0, []
    for frame in frames:
        count = len(frame.rows)
        mesh = np.asarray(_vertices(dam, z[start : start + count]))
        others = np.arange(count) != frame.central
        apart = np.linalg.norm(mesh[others] - mesh[frame.central], axis=-1)
        errors.append(apart.mean(-1))
        start += count
    each = np.concatenate(errors).astype(np.float64)
    return float(each.mean()) if len(each) else None


@jax.jit
def _change(dam, mesh: MeshTables, before: tuple, after: tuple) -> dict[str, Array]:
    (z, pose), (z_after, pose_after) = before, after
    vertices = dam.decode_vertices(z)
    texture, texture_after = (
        jnp.clip(dam.decode_texture(state, view_direction(h)), 0, 1)
        for state, h in (before, after)
    )
    charts = jnp.float32(mesh.arrays.texel_map.triangle >= 0)
    charts = jnp.repeat(charts[None], len(z), 0)
    return {
        "geometry_mm": distance(vertices, dam.decode_vertices(z_after)).mean(-1),
        "pose_px": pose_distance(pose_after, pose, vertices),
        "texture": colour_difference(texture_after, texture, charts),
    }


def _compare(
    model: FaceModel, before: tuple, after: tuple, runner: Runner, *, what: str
) -> Score:
    """Mean over views of what changed."""
    parts: list[Arrays] = []
    for rows, new in console.progress(chunks(len(before[0]), runner.size), what):
        states = jax.tree.map(lambda x: x[rows], (before, after))  # noqa: B023
        result = _change(model.dam, model.mesh, *to_global(states, runner.mesh))
        parts.append({k: np.asarray(x)[new] for k, x in result.items()})
    means = {k: float(x.astype(np.float64).mean()) for k, x in stacked(parts).items()}
    return Score(**means)


def table_rows(
    networks: Sequence[I2ZConfig], scores: Sequence[dict[Scenario, Score]]
) -> list[Row]:
    """The published layout: networks of a variant, and its published figures below."""

    def row(name: str, whose: str, cells: Mapping[Scenario, Score]) -> Row:
        figures = {s: cells[s]._asdict() for s in scenarios.SCENARIOS}
        return {"variant": name, "whose": whose, **figures}

    rows = []
    both = zip(networks, scores, strict=True)
    for variant, ours in groupby(both, key=lambda pair: pair[0].variant):
        rows += [row(network.name, "ours", cells) for network, cells in ours]
        rows.append(row(variant, "published", scenarios.PUBLISHED[variant]))
    return rows
