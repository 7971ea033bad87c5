# SPDX-License-Identifier: Apache-2.0
"""Stage `adapt`: the regressor learns an unlabelled video, under guard (DESIGN 6).

Only what `train regress` trained moves; decoder and streams are read. Each step draws
indices of frame pairs and of lab views, gathers their cached stream maps, and
descends on CFTC + FL + MOTC + prior on the pairs and the supervised loss on the views.
The loop, its checkpoints and its resuming are those of every stage; the guard is its
`evaluate`.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from i2z_jax import console
from i2z_jax.checkpoint import RunCheckpoints
from i2z_jax.data.batches import Example, Stream, endless
from i2z_jax.errors import InputError
from i2z_jax.losses import reprojection_loss, vertex_loss
from i2z_jax.models.parameters import split_trained
from i2z_jax.objectives import adapt as terms_of
from i2z_jax.objectives.adapt import (
    AdaptWeights,
    adaptation_terms,
    observe,
    weighted,
)
from i2z_jax.objectives.colour import ColourEquations, accumulate
from i2z_jax.objectives.landmarks import unit_range
from i2z_jax.objectives.regress import RegressWeights, regress_objective
from i2z_jax.sharding import (
    is_first_process,
    local_rows,
    on_each_device,
    to_global,
    whole,
    with_whole_kernels,
)
from i2z_jax.system import System
from i2z_jax.train.adapt_data import Labelled, Material
from i2z_jax.train.guard import Figures, Guard
from i2z_jax.train.loop import run_loop
from i2z_jax.train.optim import build_optimizer
from i2z_jax.train.run import RunConfig, check_batch, create_state, place
from i2z_jax.train.stages import Stage
from i2z_jax.train.step import train_step
from i2z_jax.train.workdir import remember_frozen
from i2z_jax.types import Array, Int, NDArray

PyTree = Any

# Replay: the texture term of `train regress` would decode twice more a step, and z,
# which it is there for, is labelled.
REPLAY = RegressWeights(texture=0.0)


class Outcome(NamedTuple):
    """What a finished run says."""

    system: System
    # 0: nothing was better than the system that was given, and this is it.
    best_step: int
    before: Figures
    after: Figures
    # Why the run ended early, if it did.
    collapse: str | None

    def report(self) -> dict[str, Any]:
        """All but the networks, as JSON."""
        return {name: getattr(self, name) for name in self._fields if name != "system"}


def adapt(
    system: System,
    material: Material,
    *,
    workdir: Path,
    config: RunConfig,
    weights: AdaptWeights,
    mesh: Mesh,
) -> Outcome | None:
    """Adapt in a held workdir (`workdir.hold`); guard and best network live there too.

    Returns:
        The better of before and after, or None if the run was asked to stop before its
        end.

    Raises:
        InputError: as `run_loop`; batch, microbatches and devices do not fit.
    """
    check_batch(config, mesh)
    stage, judge = adaptation(system, material, weights=weights, mesh=mesh)
    optimizer = build_optimizer(config.optimizer, config.loop.steps)
    # Not the caches: they follow from the networks, to a bit that depends on the
    # devices, and a run may go on elsewhere.
    remember_frozen(workdir, {name: stage.frozen[name] for name in ("net", "dam")})
    frozen = place(stage.frozen, mesh)
    state = create_state(stage, optimizer, mesh)
    guard, best = Guard(workdir), workdir / "best"

    def evaluate(state, done: int) -> Figures:
        figures = judge(state.params, frozen, config.batch_size)
        guard.record(done, figures, write=is_first_process())
        if guard.best == done:
            _save(best, done, state.params)
        if guard.collapse(done) is not None:
            raise _Collapse
        return figures

    if 0 not in guard.history:
        before = judge(state.params, frozen, config.batch_size)
        guard.record(0, before, write=is_first_process())
    if not np.isfinite(guard.before["score"]):
        raise InputError("the network given predicts nothing finite on this video")
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        state.params,
    )
    if guard.first_collapse is None:
        try:
            state = run_loop(
                state,
                frozen,
                step=partial(
                    train_step,
                    objective=with_whole_kernels(stage.objective, mesh),
                    optimizer=optimizer,
                    seed=config.seed,
                    microbatches=config.microbatches,
                ),
                batches=endless(
                    streams(material, config.batch_size),
                    seed=config.seed,
                    rows=partial(local_rows, mesh),
                ),
                put=partial(to_global, mesh=mesh),
                workdir=workdir,
                config=config.loop,
                # Each pair is two images, each view one.
                batch_size=config.batch_size * (2 + (material.replay is not None)),
                evaluate=evaluate,
            )
        except _Collapse:
            console.err.print(f"the guard stops the run at {guard.first_collapse}")
        else:
            if int(state.step) < config.loop.steps:
                console.err.print(
                    f"stopped at step {int(state.step)}; the same command goes on"
                )
                return None
    step = guard.best
    if step:
        restored = RunCheckpoints(best).restore({"params": abstract})
        assert restored is not None
        assert restored.step == step
        trained = whole(restored.state["params"], mesh)
        system = system._replace(net=stage.assemble(trained, None))  # pyrefly: ignore
    return Outcome(
        system, step, guard.before, guard.history[step], guard.first_collapse
    )


class _Collapse(Exception):
    """Ends the loop from within an evaluation."""


def _save(folder: Path, step: int, params: PyTree) -> None:
    """Before the step is a checkpoint of the run: what is judged best exists."""
    checkpoints = RunCheckpoints(folder, keep=1)
    checkpoints.save(step, {"params": params}, {})
    checkpoints.close()


class Rows:
    """Indices as examples: what they point at is on the devices already."""

    def __init__(self, index: Int[NDArray, "k"]):
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Example:
        return {"row": self._index[index]}


def streams(material: Material, batch_size: int) -> dict[str, Stream]:
    """What a batch is drawn from, as many views as pairs."""
    found = {"pairs": Stream(Rows(material.video.learn), batch_size)}
    if material.replay is not None:
        views = np.arange(len(material.replay.pose), dtype=np.int32)
        found["replay"] = Stream(Rows(views), batch_size)
    return found


# (params, frozen, pairs at a time) -> figures of the held-out frames.
Judge = Callable[[PyTree, PyTree, int], Figures]


def adaptation(
    system: System,
    material: Material,
    *,
    weights: AdaptWeights,
    mesh: Mesh,
) -> tuple[Stage, Judge]:
    """The stage, and the measure that the guard judges by.

    A batch is {"pairs": {"row": (b,)}, "replay": {"row": (b,)}}: rows of
    `material.video.frames`, each with the row after it, and of `material.replay`.
    """
    graph, params, rest = split_trained(system.net)
    dam_graph, dam_state = nnx.split(system.dam)
    video, size = material.video, system.image_size
    observe_rows = partial(
        observe,
        unwrap_frames=on_each_device(terms_of.unwrap_frames, mesh, shared=2),
    )
    compare = partial(adaptation_terms, image_size=size)

    def predict(params, frozen, row):
        """Frames t, t + 1, t', t' + 1, ... through network and decoder."""
        row = jnp.stack([row, row + 1], 1).reshape(-1)
        frames = frozen["frames"].rows(row)
        dam = nnx.merge(dam_graph, frozen["dam"])
        prediction = nnx.merge(graph, params, frozen["net"]).regress(frames.maps)
        seen = observe_rows(prediction, dam, unit_range(frames.image), frozen["face"])
        return frames, prediction, seen

    def objective(params, stats, frozen, batch, key):
        del key
        frames, prediction, seen = predict(params, frozen, batch["pairs"]["row"])
        equations = accumulate(stats, seen.equations())
        terms = compare(
            seen, prediction.z, frames.detected, equations, frozen["face"],
            frozen["lab"],
        )  # fmt: skip
        loss = weighted(terms, frozen["weights"])
        if "replay" in batch:
            views = frozen["replay"].rows(batch["replay"]["row"])
            replay, supervised = supervise(params, frozen, views)
            loss = loss + frozen["weights"]["replay"] * replay
            terms |= {f"replay/{name}": value for name, value in supervised.items()}
        return loss, (terms, equations)

    def supervise(params, frozen, views: Labelled):
        net = nnx.merge(graph, params, frozen["net"])
        return regress_objective(
            net.regress(views.maps),
            nnx.merge(dam_graph, frozen["dam"]),
            {"z": views.z, "pose": views.pose, "vertices": views.vertices},
            weights=REPLAY,
            pose_std=net.pose_std[...],
            texel_weight=jnp.ones(()),
            image_size=size,
        )

    frozen = {
        "net": rest,
        "dam": dam_state,
        "frames": video.frames,
        "replay": material.replay,
        "face": material.face,
        "lab": material.lab,
        # Arguments, not constants: all weights share one compiled step.
        "weights": {k: jnp.float32(v) for k, v in asdict(weights).items()},
    }
    stage = Stage(
        params,
        ColourEquations.empty(),
        frozen,
        objective,
        objective,
        lambda p, _: nnx.merge(graph, p, rest),
    )

    whole_kernels = partial(with_whole_kernels, mesh=mesh)

    @jax.jit
    @whole_kernels
    def colours(params, frozen, row):
        return predict(params, frozen, row)[2].equations()

    @jax.jit
    @whole_kernels
    def measure(params, frozen, row, equations):
        frames, prediction, seen = predict(params, frozen, row)
        terms = compare(
            seen, prediction.z, frames.detected, equations, frozen["face"],
            frozen["lab"],
        )  # fmt: skip
        return terms, prediction.z, prediction.pose, _contrast(seen)

    @jax.jit
    def true_error(frozen, z, pose, true_pose, true_vertices):
        dam = nnx.merge(dam_graph, frozen["dam"])
        pixels = reprojection_loss(pose, true_pose, true_vertices, image_size=256)
        mm = vertex_loss(dam.decode_vertices(z), true_vertices)
        return {"vertex_mm": mm.mean(), "pose_px": pixels.mean()}

    watched_error = jax.jit(whole_kernels(supervise))

    def judge(params, frozen, at_a_time: int) -> Figures:
        """Twice over the frames: the colours of all of them first, then the terms."""
        # Filled up with the first ones again, so that one shape is compiled.
        count = -(-len(video.judge) // at_a_time) * at_a_time
        chunks = np.resize(video.judge, count).reshape(-1, at_a_time)
        rows = [to_global(chunk[local_rows(mesh, at_a_time)], mesh) for chunk in chunks]
        parts = [colours(params, frozen, row) for row in rows]
        equations = jax.tree.map(lambda *x: sum(x), *parts)
        found = [measure(params, frozen, row, equations) for row in rows]
        terms = _means([terms for terms, *_ in found])
        z = jnp.concatenate([z for _, z, *_ in found])
        figures = {
            "score": float(weighted(terms, asdict(weights))),
            **terms,
            **_means([contrast for *_, contrast in found]),
            "z_spread": float(z.std(0).mean()),
        }
        if video.truth is not None:
            index = np.stack([chunks, chunks + 1], -1).reshape(-1)
            pose = jnp.concatenate([pose for _, _, pose, _ in found])
            truth = [x[index] for x in video.truth]
            figures |= _means([true_error(frozen, z, pose, *truth)])
        if material.watched is not None:
            _, supervised = watched_error(params, frozen, material.watched)
            figures["lab_vertex_mm"] = float(supervised["vertices"])
            figures["lab_pose_px"] = float(supervised["reprojection"]) * 256 / size
        return figures

    return stage, judge


def _contrast(seen: terms_of.Observation) -> dict[str, Array]:
    """What falls when a face collapses: visible texels, their spread of colours."""
    weight = seen.visible[..., None]
    total = jnp.maximum(weight.sum(), 1e-6)
    mean = (seen.observed * weight).sum((0, 1, 2), keepdims=True) / total
    variance = ((seen.observed - mean) ** 2 * weight).sum((0, 1, 2)) / total
    return {
        "visible": seen.visible.mean(),
        "texture_range": jnp.sqrt(variance).mean(),
    }


def _means(dictionaries: list[dict[str, Array]]) -> Figures:
    return {
        name: float(np.mean([float(each[name]) for each in dictionaries]))
        for name in dictionaries[0]
    }
