# SPDX-License-Identifier: Apache-2.0
"""The decoder: z and view to vertices in mm and texture in [0, 1]."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.device import Rates
from benchmarks.forward import TOLERANCE, check_close
from benchmarks.measure import Contender, Row, program, race
from benchmarks.networks import random_networks
from benchmarks.suite import Options


def measure(options: Options, rates: Rates) -> Iterator[Row]:
    """Mesh and texture for each batch size, against PyTorch."""
    networks = random_networks(options.sizes, jnp.dtype(options.dtype))
    graph, state = nnx.split(networks.dam)

    def decode(state, z, view):
        return tuple(nnx.merge(graph, state).decode(z, view))

    for size in options.batches("decode"):
        rng = np.random.default_rng(2)
        z = rng.normal(size=(size, options.sizes.dam.z_size)).astype(np.float32)
        view = np.tile(np.float32([0, 0, 1]), (size, 1))
        ours = program(decode, state, *jax.device_put((z, view)))
        contenders = {"i2z_jax": ours}
        if options.peer:
            contenders |= _peers(options, networks, (z, view), ours.call())
        yield from race("decode", options.case(size), contenders, options, rates, size)


def _peers(options: Options, networks, inputs, ours) -> dict[str, Contender]:
    import torch

    from benchmarks.torch_peer import Peer, forms

    found = {}
    for name, compile_it in forms().items():
        peer = Peer(networks, options.sizes, compiled=compile_it, dtype=options.dtype)
        arguments = [torch.from_numpy(x).to(peer.device) for x in inputs]
        for mine, other in zip(ours, peer.run(peer.decoder, *arguments), strict=True):
            check_close(np.asarray(mine), other.cpu(), TOLERANCE[options.dtype])
        found[name] = Contender(partial(peer.run, peer.decoder, *arguments))
    return found
