# SPDX-License-Identifier: Apache-2.0
"""Converts a PyTorch checkpoint.

Detects the architecture from tensor names, infers the configuration from shapes, and
maps every tensor (`mapping.fit`). Nothing is written to disk. `verify.py` compares the
result with PyTorch.
"""

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import nnx

from i2z_jax.checkpoint import ModelCard, Origin, build, fill, named_arrays
from i2z_jax.convert import fan, multiface_dam, princeton, torchvision_vgg
from i2z_jax.convert.load import load_state_dict
from i2z_jax.convert.mapping import MismatchError, Published, Tensors, fit
from i2z_jax.errors import InputError

FAMILIES: dict[str, Published] = {
    family.name: family
    for family in (
        torchvision_vgg.PUBLISHED,
        fan.PUBLISHED,
        princeton.PUBLISHED,
        multiface_dam.PUBLISHED,
    )
}


@dataclass(frozen=True)
class Converted:
    """A converted module with its provenance.

    Attributes:
        family: the published family it was recognised as.
        tensors: PyTorch's tensors, by name, with those of the statistics folder.
        module: ours, ready to call, computing in float32.
        card: what `checkpoint.save_model` stores beside the weights.
        left_out: reason -> number of tensors skipped on purpose.
    """

    family: Published
    tensors: Tensors
    module: nnx.Module
    card: ModelCard
    left_out: dict[str, int]


def convert(
    path: str | Path,
    family: str = "auto",
    *,
    stats: str | Path | None = None,
    landmarks: int = 68,
) -> Converted:
    """Read a PyTorch checkpoint into one of our modules.

    Args:
        path: a `.pth`, `.pth.tar`, `.pt` or scripted `.zip` file.
        family: a key of `FAMILIES`; "auto" recognises it.
        stats: folder of the capture's statistics, for a deep appearance model.
        landmarks: how many a landmark network must have.

    Raises:
        InputError: the file is not readable or not of the family; `MismatchError`
            has the list of all tensors that do not fit.
    """
    path = Path(path)
    tensors = load_state_dict(path)
    published = _recognise(tensors, family, path)
    try:
        config = published.infer_config(tensors)
    except (LookupError, ValueError, TypeError, ZeroDivisionError) as error:
        what = f"not a complete {published.name} checkpoint ({error})"
        raise InputError(what, where=path) from error
    if getattr(config, "landmarks", landmarks) != landmarks:
        raise InputError(
            "has another number of landmarks",
            where=path,
            expected=landmarks,
            got=config.landmarks,
            fix=f"if that is meant, --landmarks {config.landmarks}",
        )
    folder = None if stats is None else Path(stats)
    tensors |= _companions(published, config, folder, path)
    module = build(published.architecture, config)
    shapes = {name: tuple(leaf.shape) for name, leaf in named_arrays(module).items()}
    fitted = fit(tensors, published.entries(config), shapes, published.ignored)
    if fitted.mismatches:
        raise MismatchError(fitted.mismatches, where=path, wanted=published.name)
    card = ModelCard(
        architecture=published.architecture,
        config=config,
        licence=published.licence,
        source=Origin(path.name, _sha256(path)),
        extras=published.extras(folder, config) if published.extras else {},
    )
    module = fill(module, {name: jnp.asarray(x) for name, x in fitted.arrays.items()})
    return Converted(published, tensors, module, card, fitted.left_out)


def _recognise(tensors: Tensors, family: str, path: Path) -> Published:
    found = [f for f in FAMILIES.values() if tensors.keys() >= set(f.signature)]
    wanted = FAMILIES.get(family)
    if wanted in found:
        return wanted
    if family == "auto" and len(found) == 1:
        return found[0]
    some = ", ".join(sorted(tensors)[:4])
    if not found:
        name = "of a known family" if wanted is None else f"a {wanted.name} checkpoint"
        raise InputError(
            f"is not {name}",
            where=path,
            expected="one of " + ", ".join(FAMILIES)
            if wanted is None
            else "tensors " + ", ".join(wanted.signature),
            got=f"{some}, ...",
        )
    raise InputError(
        f"is not a {family} checkpoint",
        where=path,
        got=found[0].name,
        fix=f"i2z convert {found[0].name} {shlex.quote(str(path))}",
    )


def _companions(
    published: Published, config: Any, stats: Path | None, path: Path
) -> Tensors:
    if published.read_companions is None:
        if stats is not None:
            raise InputError(f"a {published.name} has no statistics", where="--stats")
        return {}
    if stats is None:
        raise InputError(
            "needs the statistics of its capture to speak of mm and colours",
            where=path,
            fix="--stats DIR with tex_mean.png, tex_var.txt, vert_mean.bin and "
            "vert_var.txt",
        )
    return published.read_companions(stats, config)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
