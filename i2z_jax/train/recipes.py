# SPDX-License-Identifier: Apache-2.0
"""How each preset is trained, stage by stage: sizes of batches, steps, step sizes.

Data, like `presets.py`: `i2z train STAGE --preset P` starts from these numbers and
every one of them is an option. `tiny` is measured on synthetic data and two cores.
`paper` has the published networks' own step sizes where they are known (FAN: RMSprop
2.5e-4; Multiface: Adam 1e-4) and Multiface's batch of 8; FAN's was 10, ours is 16.
"""

from i2z_jax.train.loop import LoopConfig
from i2z_jax.train.optim import OptimizerConfig
from i2z_jax.train.run import RunConfig

# By preset, then by stage.
RECIPES: dict[str, dict[str, RunConfig]] = {
    "paper": {
        "landmarks": RunConfig(
            batch_size=16,
            loop=LoopConfig(steps=60_000, save_every=2000, evaluate_every=2000),
            optimizer=OptimizerConfig(learning_rate=2.5e-4, warmup_steps=1000),
        ),
        "dam": RunConfig(
            batch_size=8,
            loop=LoopConfig(steps=200_000, save_every=2000, evaluate_every=10_000),
            optimizer=OptimizerConfig(learning_rate=1e-4, warmup_steps=1000),
        ),
        "regress": RunConfig(
            batch_size=64,
            loop=LoopConfig(steps=50_000, save_every=1000, evaluate_every=2000),
            optimizer=OptimizerConfig(learning_rate=3e-4, warmup_steps=1000),
        ),
    },
    "tiny": {
        "landmarks": RunConfig(
            batch_size=8,
            loop=LoopConfig(steps=700, save_every=150),
            optimizer=OptimizerConfig(learning_rate=4e-3, warmup_steps=30),
        ),
        "dam": RunConfig(
            batch_size=8,
            loop=LoopConfig(steps=450, save_every=150),
            optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=30),
        ),
        "regress": RunConfig(
            batch_size=16,
            loop=LoopConfig(steps=700, save_every=150),
            optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=30),
        ),
    },
}
