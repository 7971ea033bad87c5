# SPDX-License-Identifier: Apache-2.0
"""Three steps of adaptation on all devices: `python adapt_devices.py` prints JSON.

`python adapt_devices.py OUT` as every process of a cluster: on all devices of it, with
divided kernels.
"""

import json
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax

from i2z_jax import cluster, sharding
from i2z_jax.collectives import bytes_by_kind, collectives
from i2z_jax.data.batches import endless
from i2z_jax.objectives.adapt import AdaptWeights
from i2z_jax.sharding import (
    create_mesh,
    is_first_process,
    local_rows,
    replicate,
    to_global,
    whole,
)
from i2z_jax.train.adapt import streams
from i2z_jax.train.adapt_stage import adapt_stage
from i2z_jax.train.compiled_step import CompiledStep
from i2z_jax.train.run import create_state
from tests.train import adapt_world as world

BATCH = 4


def steps(mesh):
    system = world.system()
    data = world.adaptation_data(system, mesh)
    stage, judge = adapt_stage(system, data, weights=AdaptWeights(), mesh=mesh)
    optimizer = optax.sgd(1e-3, momentum=0.9)
    state = create_state(stage, optimizer, mesh)
    frozen = replicate(stage.frozen, mesh)
    rows = partial(local_rows, mesh)
    batches = endless(streams(data, BATCH), seed=0, rows=rows)
    drawn = [to_global(next(batches), mesh) for _ in range(3)]
    step = CompiledStep(stage.step(optimizer, mesh, seed=0), state, frozen, drawn[0])
    losses = [float(step(batch)["loss"]) for batch in drawn]
    params = step.state.params
    leaves = [np.asarray(x) for x in jax.tree.leaves(whole(params, mesh))]
    return {
        "losses": losses,
        "figures": judge(params, frozen),
        "trained_bytes": sum(x.nbytes for x in leaves),
        "parameters": [x.ravel()[:50].tolist() for x in leaves],
        "sent": bytes_by_kind(collectives(step.program.as_text())),
    }


def main():
    sharding.LARGE = 512
    if len(sys.argv) > 1:
        cluster.join()
        found = steps(create_mesh(fsdp=2))
        if is_first_process():
            Path(sys.argv[1]).write_text(json.dumps({"2x2, fsdp": found}))
        return
    print(json.dumps({"four": steps(create_mesh())}))


if __name__ == "__main__":
    main()
