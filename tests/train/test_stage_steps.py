# SPDX-License-Identifier: Apache-2.0
"""What `train_step` promises, of every stage's own step: guard, parts, bfloat16."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.extend.core import jaxprs_in_params

from i2z_jax.data.batches import Stream, endless
from i2z_jax.models.dam import DAM
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.parameters import Keys
from i2z_jax.objectives.adapt import AdaptWeights
from i2z_jax.objectives.regress import RegressWeights
from i2z_jax.presets import PRESETS
from i2z_jax.sharding import create_mesh
from i2z_jax.train import abstract_step
from i2z_jax.train.adapt import streams
from i2z_jax.train.adapt_stage import adapt_stage
from i2z_jax.train.stages import regress_stage
from i2z_jax.train.state import TrainState
from tests.train import adapt_world
from tests.train.tiny_stages import FACE, NET, Examples, tiny_stage

STAGES = ("landmarks", "dam", "regress", "adapt")
BATCH, RATE = 4, 1e-3
# A label of each stage that is not finite, in one example.
LABELS = {"landmarks": "landmarks", "dam": "vertices", "regress": "pose"}


@pytest.fixture(scope="module", params=STAGES)
def stepped(request):
    """A stage in two parts: state, frozen, batch; and the compiled step."""
    mesh = create_mesh(devices=jax.devices()[:1])
    if request.param == "adapt":
        system = adapt_world.system()
        data = adapt_world.adaptation_data(system, mesh)
        stage, _ = adapt_stage(system, data, weights=AdaptWeights(), mesh=mesh)
        source = streams(data, BATCH)
    else:
        stage = tiny_stage(request.param, mesh)
        source = Stream(Examples(request.param), BATCH)
    batch = next(endless(source, seed=0))
    optimizer = optax.sgd(RATE)
    step = stage.step(optimizer, mesh, seed=0, microbatches=2)
    state = TrainState.create(stage.params, stage.stats, optimizer)
    return request.param, stage, state, batch, jax.jit(step)


def test_two_parts_are_the_mean_of_their_gradients(stepped):
    """Even rows, then odd ones, with the statistics that the first part left."""
    _, stage, state, batch, step = stepped
    after, metrics = step(state, stage.frozen, batch)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 2)
    differentiate = jax.jit(jax.value_and_grad(stage.objective, has_aux=True))
    stats, losses, total = stage.stats, [], None
    for part, key in enumerate(keys):
        rows = jax.tree.map(lambda x, part=part: x[part::2], batch)
        (loss, (_, stats)), grads = differentiate(
            state.params, stats, stage.frozen, rows, key
        )
        losses.append(float(loss))
        total = grads if total is None else jax.tree.map(np.add, total, grads)
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-4)
    norm = float(optax.tree.norm(total)) / 2
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-3)
    moved = jax.tree.map(lambda a, b: (b - a) / RATE, after.params, state.params)
    for ours, theirs in zip(
        jax.tree.leaves(moved), jax.tree.leaves(total), strict=True
    ):
        # Of float32 parameters near 1, differences are known to 1e-7 / RATE.
        np.testing.assert_allclose(ours, theirs / 2, rtol=0.01, atol=1e-3 + 1e-3 * norm)


def test_one_bad_label_spoils_a_step_and_no_network(stepped):
    name, stage, state, batch, step = stepped
    frozen = stage.frozen
    if name == "adapt":
        bad = frozen.replay._replace(z=jnp.full_like(frozen.replay.z, jnp.nan))
        frozen = frozen._replace(replay=bad)
    else:
        label = batch[LABELS[name]].copy()
        label[1] = np.nan
        batch = {**batch, LABELS[name]: label}
    after, metrics = step(state, frozen, batch)
    assert not np.isfinite(metrics["loss"])
    assert (after.step, after.skipped, after.skipped_in_a_row) == (1, 1, 1)
    for kept in ("params", "stats", "opt_state"):
        jax.tree.map(
            np.testing.assert_array_equal, getattr(after, kept), getattr(state, kept)
        )


@pytest.mark.parametrize("name", STAGES)
def test_bfloat16_is_for_the_networks_alone(name):
    """Read from the traced objective: its products, its sums, what comes out of it."""
    mesh = create_mesh(devices=jax.devices()[:1])
    half, full = jnp.dtype("bfloat16"), jnp.dtype("float32")
    stage, batch = abstract_step.STAGES[name](PRESETS["tiny"], 2, half, mesh)
    key = jax.eval_shape(lambda: jax.random.key(0))
    program, (loss, (metrics, _)) = jax.make_jaxpr(stage.objective, return_shape=True)(
        stage.params, stage.stats, stage.frozen, batch, key
    )
    assert {x.dtype for x in (loss, *metrics.values())} == {full}
    assert {x.dtype for x in jax.tree.leaves(stage.params)} == {full}
    operands = {"convolutions": [], "products": [], "sums": []}
    for equation in equations(program.jaxpr):
        match equation.primitive.name:
            case "conv_general_dilated":
                operands["convolutions"].append(equation.invars[0].aval.dtype)
            case "dot_general":
                operands["products"].append(equation.invars[0].aval.dtype)
            case "reduce_sum":
                operands["sums"].append(equation.invars[0].aval.dtype)
    assert set(operands["convolutions"]) == {half}
    # The full ones are cameras and colours, of the losses, and the regressors' ends.
    dense = [kind == half for kind in operands["products"]]
    assert sum(dense) >= len(dense) / 4
    # Of many elements the last ones are lost in bfloat16.
    assert half not in operands["sums"]


def equations(program):
    """All of a program, those of its parts included."""
    for equation in program.eqns:
        yield equation
        for part in jaxprs_in_params(equation.params):
            yield from equations(part)


def test_what_a_run_fitted_goes_with_its_state():
    """Fitted anew, on other devices, it would not be what was learned from."""
    net = I2ZNet(replace(NET, shape_size=8), rngs=Keys(0))
    stage = regress_stage(
        net,
        DAM(FACE, rngs=Keys(1)),
        weights=RegressWeights(),
        texel_weight=jnp.ones((FACE.texture_size, FACE.texture_size)),
        image_size=NET.image_size,
    )
    fitted = dict(nnx.to_flat_state(stage.stats))
    assert set(fitted) == {("shape", "mean"), ("shape", "whiten")}
    assert not set(fitted) & set(dict(nnx.to_flat_state(stage.frozen.net)))
    restored = jax.tree.map(lambda x: x + 1, stage.stats)
    module = stage.assemble(stage.params, restored)
    np.testing.assert_array_equal(module.shape.mean[...], np.ones(2 * 68 + 3))
    batch = next(endless(Stream(Examples("regress"), BATCH), seed=0))
    of_loss = jax.jit(stage.objective)
    key = jax.random.key(0)
    before, (_, kept) = of_loss(stage.params, stage.stats, stage.frozen, batch, key)
    after, _ = of_loss(stage.params, restored, stage.frozen, batch, key)
    assert before != after
    jax.tree.map(np.testing.assert_array_equal, kept, stage.stats)
