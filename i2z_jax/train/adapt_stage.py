# SPDX-License-Identifier: Apache-2.0
"""What adaptation computes: the loss of a step, and the figures the guard judges by.

Both gather cached frames by their rows, and differ in what is done with the terms of
`objectives/adapt.py`.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from i2z_jax.losses import reprojection_loss, vertex_loss, weighted
from i2z_jax.models.parameters import split_trained
from i2z_jax.objectives.adapt import (
    TERMS,
    AdaptWeights,
    Observation,
    ZPrior,
    adaptation_terms,
)
from i2z_jax.objectives.colour import ColourEquations, accumulate
from i2z_jax.objectives.regress import RegressWeights, regress_objective
from i2z_jax.sharding import replicated, with_whole_kernels
from i2z_jax.system import System
from i2z_jax.train.adapt_data import AdaptationData
from i2z_jax.train.guard import Figures
from i2z_jax.train.lab_views import LabelledViews
from i2z_jax.train.observe_frames import (
    FrameObservations,
    Graphs,
    RunInputs,
    in_groups,
    mean_equations,
    mean_over,
    observe_frames,
)
from i2z_jax.train.stages import Stage
from i2z_jax.types import Array, Float, Int, PyTree

# Replay: the texture term of `train regress` would decode twice more a step, and z,
# which it is there for, is labelled.
REPLAY = RegressWeights(texture=0.0)
ORACLE = RegressWeights(texture=0.0, z=0.0)


class Adapting(NamedTuple):
    """What a step of adaptation reads and does not train."""

    inputs: RunInputs
    prior: ZPrior
    # `AdaptWeights`; arguments, not constants: all weights share one compiled step.
    weights: dict[str, Float[Array, ""]]
    replay: LabelledViews | None
    # Pose and vertices of every frame, for the oracle.
    truth: tuple[Float[Array, "f 6"], Float[Array, "f n 3"]] | None


# (params, frozen) -> figures of the held-out frames.
Judge = Callable[[PyTree, Adapting], Figures]


def adapt_stage(
    system: System,
    data: AdaptationData,
    *,
    weights: AdaptWeights,
    mesh: Mesh,
    supervised: bool = False,
) -> tuple[Stage, Judge]:
    """The stage, and the measure that the guard judges by.

    A batch is {"pairs": {"row": (b,)}, "replay": {"row": (b,)}}: rows of
    `data.video.frames`, each with the row after it, and of `data.replay`.

    Args:
        supervised: learn the video's true meshes and poses in place of its own terms,
            and be judged by them: the oracle of DESIGN section 10.
    """
    graph, params, rest = split_trained(system.net)
    dam_graph, dam_state = nnx.split(system.dam)
    program = _Program(Graphs(graph, dam_graph, mesh), system.image_size)
    frozen = Adapting(
        inputs=RunInputs(
            net=rest,
            dam=dam_state,
            frames=data.video.frames,
            face=data.face,
            nearness=jnp.float32(data.nearness),
        ),
        prior=data.prior,
        weights={k: jnp.float32(v) for k, v in asdict(weights).items()},
        replay=data.replay,
        truth=data.video.truth if supervised else None,
    )
    objective = program.oracle if supervised else program.objective
    stage = Stage(
        params=params,
        stats=ColourEquations.empty(),
        frozen=frozen,
        lasting={"net": rest, "dam": dam_state},
        objective=objective,
        measure=objective,
        assemble=lambda p, _: nnx.merge(graph, p, rest),
    )
    return stage, _Judge(program, data, weights, supervised=supervised)


class _Program(NamedTuple):
    """Pure functions of (params, frozen, ...): the step's, and the guard's."""

    networks: Graphs
    image_size: int

    def objective(self, params, stats, frozen, batch, key):
        """`train.step.Objective`; `stats` are the video's colours so far."""
        del key
        frames = frozen.inputs.frames.rows(_pair_rows(batch["pairs"]["row"]))
        prediction, replayed, replay_terms = self.predict(params, frozen, frames, batch)
        # Decoding is what a step would cost most. Every frame is the first of a pair
        # in its turn, so that of the first alone MOTC is the same in expectation.
        seen = self.networks.observe(prediction, frozen.inputs, frames, decode_every=2)
        equations = accumulate(stats, seen.face.equations())
        assert frames.detected is not None, "see adapt_data.check_system"
        found = FrameObservations(prediction.z, prediction.pose, seen, frames.detected)
        terms = self.compare(found, equations, frozen.inputs.face, frozen.prior)
        loss = weighted(terms, frozen.weights) + replayed
        return loss, ({**terms, **replay_terms}, equations)

    def oracle(self, params, stats, frozen, batch, key):
        """`objective` with the truth in place of the self-supervised terms."""
        del key
        row = _pair_rows(batch["pairs"]["row"])
        frames = frozen.inputs.frames.rows(row)
        prediction, replayed, replay_terms = self.predict(params, frozen, frames, batch)
        pose, vertices = (x[row] for x in frozen.truth)
        # The true z of a wild frame is not known; its mesh is.
        z = jax.lax.stop_gradient(prediction.z)
        known = LabelledViews(frames.maps, pose, vertices, z)
        loss, terms = self.supervise(frozen, prediction, known, ORACLE)
        return loss + replayed, ({**terms, **replay_terms}, stats)

    def predict(self, params, frozen, frames, batch):
        """Predict the frames; and loss and terms of lab views, where some are replayed.

        One pass for all images: each gradient is then summed over the devices once.
        """
        if "replay" not in batch:
            prediction = self.networks.regress(params, frozen.inputs.net, frames.maps)
            return prediction, 0.0, {}
        views = frozen.replay.rows(batch["replay"]["row"])
        maps = _with_views(frames.maps, views.maps)
        both = self.networks.regress(params, frozen.inputs.net, maps)
        prediction, on_views = _without_views(both)
        loss, terms = self.supervise(frozen, on_views, views, REPLAY)
        terms = {f"replay/{name}": value for name, value in terms.items()}
        return prediction, frozen.weights["replay"] * loss, terms

    def compare(self, some: FrameObservations, equations, face, prior: ZPrior):
        return adaptation_terms(
            some.seen,
            some.z,
            some.detected,
            equations,
            face,
            prior,
            image_size=self.image_size,
        )

    def supervise(self, frozen, prediction, views: LabelledViews, weights):
        return regress_objective(
            prediction,
            nnx.merge(self.networks.dam, frozen.inputs.dam),
            views.labels,
            weights=weights,
            pose_std=frozen.inputs.net["pose_std"][...],
            image_size=self.image_size,
        )

    def measure(self, some: FrameObservations, equations, face, prior: ZPrior):
        """Terms and what else the guard watches, of some of the held-out pairs."""
        return {**self.compare(some, equations, face, prior), **_contrast(some.seen)}

    def watch(self, params, frozen, watched: LabelledViews):
        """Errors on lab views."""
        prediction = self.networks.regress(params, frozen.inputs.net, watched.maps)
        return self.true_errors(
            frozen, prediction.z, prediction.pose, watched.pose, watched.vertices
        )

    def true_errors(self, frozen, z, pose, true_pose, true_vertices):
        """Where meshes are known: mm, and px of a 256 px crop."""
        dam = nnx.merge(self.networks.dam, frozen.inputs.dam)
        vertices = dam.decode_vertices(z)
        pixels = reprojection_loss(pose, true_pose, true_vertices, image_size=256)
        return {
            "vertex_mm": vertex_loss(vertices, true_vertices).mean(),
            "pose_px": pixels.mean(),
        }


class _Judge:
    """`Judge`, over all held-out frames; compiled parts are shared by all its calls."""

    def __init__(
        self,
        program: _Program,
        data: AdaptationData,
        weights: AdaptWeights,
        *,
        supervised: bool,
    ):
        self._networks, self._data = program.networks, data
        self._weights, self._supervised = asdict(weights), supervised
        mesh = program.networks.mesh
        self._measure = jax.jit(program.measure, out_shardings=replicated(mesh))
        # Its parameters may be divided over the mesh.
        self._watch = jax.jit(with_whole_kernels(program.watch, mesh))
        self._true_errors = jax.jit(program.true_errors)

    def __call__(self, params: PyTree, frozen: Adapting) -> Figures:
        """The colours of all of the frames first, then the terms."""
        video, mesh = self._data.video, self._networks.mesh
        groups = in_groups(np.stack([video.judge, video.judge + 1], -1), mesh)
        observed = observe_frames(self._networks, params, frozen.inputs, groups)
        equations = mean_equations(groups, observed, mesh)
        found = [
            self._measure(each, equations, frozen.inputs.face, frozen.prior)
            for each in observed
        ]
        if video.truth is not None:
            found = [
                {
                    **figures,
                    **self._true_errors(
                        frozen, each.z, each.pose, *(x[group.rows] for x in video.truth)
                    ),
                }
                for figures, each, group in zip(found, observed, groups, strict=True)
            ]
        figures: Figures = {k: float(v) for k, v in mean_over(groups, found).items()}
        of_terms = {name: figures[name] for name in TERMS}
        figures["score"] = float(weighted(of_terms, self._weights))
        mean = mean_over(groups, [each.z.mean(0) for each in observed])
        squares = [jnp.square(each.z - mean[None]).mean(0) for each in observed]
        figures["z_spread"] = float(jnp.sqrt(mean_over(groups, squares)).mean())
        if self._data.watched is not None:
            errors = self._watch(params, frozen, self._data.watched)
            figures |= {f"lab_{name}": float(value) for name, value in errors.items()}
        if self._supervised:
            figures["score"] = figures["vertex_mm"]
        return figures


def _pair_rows(row: Int[Array, "b"]) -> Int[Array, "b2"]:
    """t, t + 1, t', t' + 1, ..."""
    return jnp.stack([row, row + 1], 1).reshape(-1)


def _with_views(pairs: PyTree, views: PyTree) -> PyTree:
    """One batch of t, t + 1, view, t', t' + 1, view', ...

    Interleaved: rows of one device stay there, which they would not one after the
    other.
    """
    return jax.tree.map(
        lambda p, v: jnp.concatenate(
            [p.reshape(-1, 2, *p.shape[1:]), v[:, None]], 1
        ).reshape(-1, *p.shape[1:]),
        pairs,
        views,
    )


def _without_views(both: PyTree) -> tuple[PyTree, PyTree]:
    """The pairs and the views of `_with_views`."""

    def three(x):
        return x.reshape(-1, 3, *x.shape[1:])

    return (
        jax.tree.map(lambda x: three(x)[:, :2].reshape(-1, *x.shape[1:]), both),
        jax.tree.map(lambda x: three(x)[:, 2], both),
    )


def _contrast(seen: Observation) -> dict[str, Array]:
    """What falls when a face collapses: visible texels, their spread of colours."""
    weight = seen.visible[..., None]
    total = jnp.maximum(weight.sum(), 1e-6)
    mean = (seen.observed * weight).sum((0, 1, 2), keepdims=True) / total
    variance = ((seen.observed - mean) ** 2 * weight).sum((0, 1, 2)) / total
    return {
        "visible": seen.visible.mean(),
        "texture_range": jnp.sqrt(variance).mean(),
    }
