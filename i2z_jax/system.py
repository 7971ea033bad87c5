# SPDX-License-Identifier: Apache-2.0
"""A whole tracker on disk: encoder, decoder and the mesh they share.

    DIR/i2znet/          model folder (`checkpoint/`)
    DIR/dam/             model folder
    DIR/topology.npz     faces, UVs, regions, landmarks

What `train regress` and `adapt` leave behind, and `evaluate`, `adapt` and `track` take.
"""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from i2z_jax import checkpoint
from i2z_jax.checkpoint import ModelCard
from i2z_jax.errors import InputError
from i2z_jax.files import require_folder
from i2z_jax.geometry import topology as topologies
from i2z_jax.geometry.topology import Topology
from i2z_jax.models.dam import DAM
from i2z_jax.models.i2znet import I2ZNet
from i2z_jax.sharding import is_first_process


class System(NamedTuple):
    """Networks ready to call, with their cards."""

    net: I2ZNet
    dam: DAM
    topology: Topology
    net_card: ModelCard
    dam_card: ModelCard

    @property
    def image_size(self) -> int:
        """Side of the crops the encoder reads, px."""
        return self.net_card.config.image_size


def save_system(
    directory: str | Path, system: System, *, overwrite: bool = False
) -> None:
    """Write a system; the folder appears whole or not at all.

    Every process of a run calls this.
    """
    with checkpoint.folder_aside(directory, overwrite=overwrite) as aside:
        checkpoint.save_model(aside / "i2znet", system.net, system.net_card)
        checkpoint.save_model(aside / "dam", system.dam, system.dam_card)
        if is_first_process():
            topologies.save(aside / "topology.npz", system.topology)


def _has_networks(directory: Path) -> bool:
    return all((directory / part).is_dir() for part in ("i2znet", "dam"))


def load_system(directory: str | Path, *, dtype: DTypeLike = jnp.float32) -> System:
    """Read a system onto this process's first device.

    Raises:
        InputError: not a system, or its parts do not fit each other.
    """
    directory = Path(directory)
    require_folder(directory, "the folder of a tracker")
    if not _has_networks(directory):
        left = "what `i2z train regress` or `i2z adapt` left in WORKDIR/system"
        result = directory / "system"
        raise InputError(
            "not a tracker: no folders i2znet and dam",
            where=directory,
            fix=f"give {result if _has_networks(result) else left}",
        )
    net_card = checkpoint.read_card(directory / "i2znet")
    dam_card = checkpoint.read_card(directory / "dam")
    topology = topologies.load(directory / "topology.npz")
    sizes = {
        "z_size": (net_card.config.z_size, dam_card.config.z_size),
        "vertices": (topology.vertex_count, dam_card.config.vertices),
    }
    for name, (ours, decoders) in sizes.items():
        if ours != decoders:
            raise InputError(
                f"{name} differs between decoder and encoder or topology",
                where=directory,
                expected=decoders,
                got=ours,
            )
    return System(
        checkpoint.load(directory / "i2znet", dtype=dtype),
        checkpoint.load(directory / "dam", dtype=dtype),
        topology,
        net_card,
        dam_card,
    )
