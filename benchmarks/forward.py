# SPDX-License-Identifier: Apache-2.0
"""`paper` forward on the CPU: both frozen streams against PyTorch, and the whole net.

The peer is the PyTorch reference of the converter, eager, channels-last, on as many
threads as XLA has. Weights are random: the time does not depend on them.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from benchmarks.timing import Timing, race
from i2z_jax.checkpoint import build, fill, named_arrays
from i2z_jax.config import I2ZConfig
from i2z_jax.convert.torch_reference.hourglass import TorchFAN
from i2z_jax.convert.torch_reference.vgg import TorchVGG
from i2z_jax.presets import PAPER


def measure(batch: int, rounds: int) -> dict[str, dict[str, Timing]]:
    """Races by title, for images of the preset's size."""
    # Those this process may use (taskset), which is what XLA counts too.
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    size = PAPER.i2z.image_size
    image = np.random.default_rng(0).random((batch, size, size, 3), np.float32)
    ours, peer = _ours(PAPER.i2z, image), _peer(PAPER.i2z, image)
    races = {
        f"{part}, batch {batch}": {"i2z_jax": ours[part], "PyTorch": peer[part]}
        for part in peer
    }
    timings = {
        title: race(contenders, rounds=rounds) for title, contenders in races.items()
    }
    whole = {"i2z_jax": ours["whole network"], "i2z_jax streams": ours["streams"]}
    return {**timings, f"whole network, batch {batch}": race(whole, rounds=rounds)}


def _ours(config: I2ZConfig, image: np.ndarray) -> dict:
    module = build("i2znet", config)
    rng = np.random.default_rng(1)
    module = fill(
        module,
        {
            name: jnp.asarray(rng.uniform(0.01, 0.02, leaf.shape), jnp.float32)
            for name, leaf in named_arrays(module).items()
        },
    )
    graph, state = nnx.split(module)
    parts = {
        "VGG-19": lambda net, x: net.vgg(x),
        "FAN-4": lambda net, x: net.hourglass(x)[-1],
        "streams": lambda net, x: net.streams(x),
        "whole network": lambda net, x: net(x)[:2],
    }
    x = jnp.asarray(image)

    def contender(part):
        run = jax.jit(lambda state, x: part(nnx.merge(graph, state), x))
        return lambda: run(state, x)

    return {name: contender(part) for name, part in parts.items()}


def _peer(config: I2ZConfig, image: np.ndarray) -> dict:
    layout = {"memory_format": torch.channels_last}
    vgg = TorchVGG(config.vgg).eval().to(**layout)
    fan = TorchFAN(config.hourglass).eval().to(**layout)
    x = torch.from_numpy(image).permute(0, 3, 1, 2).contiguous(**layout)

    def contender(*networks):
        def run():
            with torch.inference_mode():
                return [network(x)[-1].numpy() for network in networks]

        return run

    return {
        "VGG-19": contender(vgg),
        "FAN-4": contender(fan),
        "streams": contender(vgg, fan),
    }
