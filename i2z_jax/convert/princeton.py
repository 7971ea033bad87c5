# SPDX-License-Identifier: Apache-2.0
"""Stacked hourglass of princeton-vl/pytorch_stacked_hourglass: bottleneck blocks.

Its own layer class wraps every convolution (`...conv1.conv.weight`), levels nest in
`low2` as ours do, and a block that needs no skip convolution still stores one.
"""

from i2z_jax.config import HourglassConfig
from i2z_jax.convert.fan import reference, stages
from i2z_jax.convert.mapping import (
    Entry,
    Published,
    Tensors,
    batch_norm,
    conv,
    random_image,
)


def infer_config(tensors: Tensors) -> HourglassConfig:
    """Stacks, levels and widths."""
    stacks = {n.split(".")[1] for n in tensors if n.startswith("hgs.")}
    depth = 1
    while f"hgs.0.0{depth * '.low2'}.up1.bn1.weight" in tensors:
        depth += 1
    return HourglassConfig(
        block="residual",
        stacks=len(stacks),
        stem=(len(tensors["pre.0.conv.weight"]), len(tensors["pre.3.bn1.weight"])),
        features=len(tensors["features.0.1.conv.weight"]),
        landmarks=len(tensors["outs.0.conv.weight"]),
        depth=depth,
    )


def entries(config: HourglassConfig) -> list[Entry]:
    """The table of a configuration, in the order of the data flow."""
    first, second = config.stem
    table = [*conv("pre.0.conv", "conv1"), *batch_norm("pre.0.bn", "bn1")]
    table += _block("pre.1", "conv2", widens=first != second)
    table += _block("pre.3", "conv3")
    table += _block("pre.4", "conv4", widens=second != config.features)
    for s in range(config.stacks):
        stack = f"stacks.{s}"
        table += _hourglass(f"hgs.{s}.0", f"{stack}.hourglass", config.depth)
        table += _block(f"features.{s}.0", f"{stack}.top")
        table += conv(f"features.{s}.1.conv", f"{stack}.conv")
        table += batch_norm(f"features.{s}.1.bn", f"{stack}.bn")
        table += conv(f"outs.{s}.conv", f"{stack}.heatmaps")
        if s < config.stacks - 1:
            merged = f"{stack}.merge"
            table += conv(f"merge_features.{s}.conv.conv", f"{merged}_features")
            table += conv(f"merge_preds.{s}.conv.conv", f"{merged}_heatmaps")
    return table


def _hourglass(torch: str, flax: str, level: int) -> list[Entry]:
    inner = _hourglass if level > 1 else lambda t, f, _: _block(t, f)
    return [
        *_block(f"{torch}.up1", f"{flax}.up1"),
        *_block(f"{torch}.low1", f"{flax}.low1"),
        *inner(f"{torch}.low2", f"{flax}.low2", level - 1),
        *_block(f"{torch}.low3", f"{flax}.low3"),
    ]


def _block(torch: str, flax: str, *, widens: bool = False) -> list[Entry]:
    table: list[Entry] = []
    for i in (1, 2, 3):
        table += batch_norm(f"{torch}.bn{i}", f"{flax}.bn{i}")
        table += conv(f"{torch}.conv{i}.conv", f"{flax}.conv{i}")
    return table + (conv(f"{torch}.skip_layer.conv", f"{flax}.skip") if widens else [])


PUBLISHED = Published(
    name="princeton",
    architecture="hourglass",
    licence="BSD-3-Clause (princeton-vl/pytorch_stacked_hourglass); the data it was "
    "trained on has terms of its own",
    signature=("pre.0.conv.weight", "hgs.0.0.up1.bn1.weight", "outs.0.conv.weight"),
    infer_config=infer_config,
    entries=entries,
    sample=random_image,
    stages=stages,
    reference=reference,
    ignored={r".*\.skip_layer\.conv\.\w+": "skip convolutions that no block uses"},
)
