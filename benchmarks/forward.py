# SPDX-License-Identifier: Apache-2.0
"""The encoder on crops: whole, and each frozen stream alone, against PyTorch."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.device import Rates
from benchmarks.measure import Contender, Row, program, race
from benchmarks.networks import random_batch, random_networks
from benchmarks.suite import Options
from i2z_jax.geometry.sampling import unit_range

# Of the largest value of the peer's result.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}

# What is measured, by name: of ours, and of the peer.
PARTS: dict[str, tuple[Callable[..., Any], str]] = {
    "encoder": (lambda net, x: tuple(net(x)[:2]), "encoder"),
    "VGG": (lambda net, x: tuple(net.vgg(x)), "vgg"),
    "hourglass": (lambda net, x: (net.hourglass(x)[-1],), "fan"),
}


def measure(options: Options, rates: Rates) -> Iterator[Row]:
    """Each part for each batch size."""
    networks = random_networks(options.sizes, jnp.dtype(options.dtype))
    graph, state = nnx.split(networks.net)
    for size in options.batches("forward"):
        host = random_batch(options.sizes, size)
        image = jax.device_put(host["image"])
        for name, (part, theirs) in PARTS.items():

            def run(state, image, part=part):
                return part(nnx.merge(graph, state), unit_range(image))

            contenders = {"i2z_jax": program(run, state, image)}
            if options.peer:
                result = contenders["i2z_jax"].call()
                contenders |= _peers(options, networks, host, theirs, result)
            case = f"{name}, {options.case(size)}"
            yield from race("forward", case, contenders, options, rates, size)


def _peers(options: Options, networks, host, part: str, ours) -> dict[str, Contender]:
    import torch

    from benchmarks.torch_peer import Peer, forms

    found = {}
    for name, compile_it in forms().items():
        if compile_it and part != "encoder":
            continue  # parts say where time goes; the whole is what is compiled
        peer = Peer(networks, options.sizes, compiled=compile_it, dtype=options.dtype)
        image = peer.batch(host)["image"]
        run = getattr(peer, part)
        if part != "encoder":
            image = image.float() / 255
        result = peer.run(run, image)
        result = [result[-1]] if part == "fan" else result
        for mine, other in zip(ours, result, strict=True):
            other = other.float().cpu()
            if other.ndim == 4:
                other = other.permute(0, 2, 3, 1)
            check_close(np.asarray(mine, np.float32), other, TOLERANCE[options.dtype])
        assert isinstance(image, torch.Tensor)
        found[name] = Contender(partial(peer.run, run, image))
    return found


def check_close(ours: np.ndarray, theirs: Any, tolerance: float) -> None:
    """Refuse to time two things that are not the same.

    Raises:
        ValueError: they differ by more than `tolerance` of the largest value.
    """
    theirs = np.asarray(theirs)
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    if not error <= tolerance:
        raise ValueError(
            f"not timed: {error:.1e} from PyTorch's result; tolerance {tolerance:g}"
        )
