# SPDX-License-Identifier: Apache-2.0
"""What every process of a simulated cluster runs: `scale_program JOB ...`.

steps OUT FSDP     a few steps of every stage (of those that FSDP divides, if it is not
                   1); what was found as JSON
begin OUT FSDP     what is made of networks before the first step, as OUT/begin.npz
train WORKDIR FSDP a checkpointed run; the trained network as OUT.npz beside it
"""

import json
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
from flax import nnx

from i2z_jax import cluster, sharding
from i2z_jax.data.batches import Stream, endless
from i2z_jax.models.dam import DAM
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.models.parameters import Keys
from i2z_jax.objectives.dam import DAMWeights
from i2z_jax.sharding import (
    create_mesh,
    is_first_process,
    local_rows,
    replicate,
    to_global,
    whole,
)
from i2z_jax.train.compiled_step import CompiledStep
from i2z_jax.train.dam_start import start_from_meshes
from i2z_jax.train.lab_views import label_views
from i2z_jax.train.loop import LoopConfig
from i2z_jax.train.optim import OptimizerConfig
from i2z_jax.train.run import (
    RunConfig,
    create_state,
    fresh_module,
    run_stage,
)
from i2z_jax.train.workdir import hold, remember_config
from tests.train.tiny_stages import FACE, LARGE, NET, Examples, tiny_stage

# What has kernels that `fsdp` divides comes last.
STAGES = ("landmarks", "dam", "regress")
# Steps of a size that three of them do not make a small difference a large one.
RATES = {"landmarks": 1e-5, "dam": 1e-3, "regress": 1e-3}
BATCH = 16


class Slow(Examples):
    """Time for a signal to arrive."""

    def __getitem__(self, index):
        time.sleep(0.02)
        return super().__getitem__(index)


def steps(name, fsdp):
    """Losses, parameters and gradient moments, and how they were computed."""
    mesh = create_mesh(fsdp=fsdp)
    stage = tiny_stage(name, mesh)
    # Linear in the gradient, unlike Adam, which makes a step of the smallest noise.
    optimizer = optax.sgd(RATES[name], momentum=0.9)
    state = create_state(stage, optimizer, mesh)
    shards = shard_shapes(state)
    frozen = replicate(stage.frozen, mesh)
    rows = partial(local_rows, mesh)
    batches = endless(Stream(Examples(name), BATCH), seed=0, rows=rows)
    drawn = [to_global(next(batches), mesh) for _ in range(3)]
    step = CompiledStep(stage.step(optimizer, mesh, seed=0), state, frozen, drawn[0])
    losses = [float(step(batch)["loss"]) for batch in drawn]
    arrays = whole((step.state.params, step.state.stats), mesh)
    leaves = [np.asarray(x) for x in jax.tree.leaves(arrays)]
    return losses, leaves, step.program.as_text(), shards


def begin(fsdp):
    """A PCA in a divided decoder, and views through a divided network's streams."""
    mesh = create_mesh(fsdp=fsdp)
    rng = np.random.default_rng(0)
    dam = fresh_module(lambda: DAM(FACE, rngs=Keys(0)), mesh)
    meshes = rng.normal(size=(12, FACE.vertices, 3)).astype(np.float32)
    start_from_meshes(dam, meshes, DAMWeights())
    net = fresh_module(lambda: I2ZNet(NET, rngs=Keys(0)), mesh)
    side = NET.image_size
    views = [
        {
            "image": rng.integers(0, 256, (side, side, 3), dtype=np.uint8),
            **{name: np.zeros(6, np.float32) for name in ("pose", "vertices", "z")},
        }
        for _ in range(6)
    ]
    kept, _ = label_views(net, views, dtype=np.float32, mesh=mesh)
    divided = nnx.state(dam)
    return [*jax.tree.leaves(whole(divided, mesh)), *jax.tree.leaves(kept.maps)]


def shard_shapes(state):
    """(whole shape, shape on one device, bytes) of every array of a state."""
    return [
        (x.shape, x.addressable_shards[0].data.shape, x.nbytes)
        for x in jax.tree.leaves(state)
    ]


def train(workdir, fsdp, *, slow=False, total=6):
    """A `dam` run like a command's; its parameters, or None if it was asked to stop."""
    config = RunConfig(
        batch_size=BATCH,
        fsdp=fsdp,
        loop=LoopConfig(steps=total, log_every=1, save_every=2, keep=4),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=2),
    )
    with hold(workdir):
        # Of a command, whose field it is.
        remember_config(workdir, {"run": config})
        mesh = create_mesh(fsdp=fsdp)
        examples = Slow("dam") if slow else Examples("dam")
        module = run_stage(
            tiny_stage("dam", mesh),
            Stream(examples, BATCH),
            None,
            workdir=workdir,
            config=config,
            mesh=mesh,
        )
        if module is None:
            return None
        from i2z_jax.checkpoint import named_arrays

        return {name: np.asarray(x) for name, x in named_arrays(module).items()}


def main():
    cluster.join()
    sharding.LARGE = LARGE
    job, out, fsdp = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if job == "steps":
        found = {}
        for name in STAGES if fsdp == 1 else STAGES[1:]:
            losses, leaves, text, shards = steps(name, fsdp)
            found[f"{name} {fsdp}"] = {"losses": losses, "shards": shards}
            if is_first_process():
                np.savez(out / f"{name}-{fsdp}.npz", *leaves)
                (out / f"{name}-{fsdp}.txt").write_text(text)
        if is_first_process():
            (out / "found.json").write_text(json.dumps(found))
        return
    if job == "begin":
        leaves = [np.asarray(x) for x in begin(fsdp)]
        if is_first_process():
            np.savez(out / "begin.npz", *leaves)
        return
    final = train(out, fsdp, slow=job == "slow")
    if final is not None and is_first_process():
        np.savez(out / "final.npz", **final)


if __name__ == "__main__":
    main()
