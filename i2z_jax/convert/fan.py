# SPDX-License-Identifier: Apache-2.0
"""FAN of 1adrianb/face-alignment: hierarchical blocks, stacked hourglasses.

All names are flat: `m0.b1_4` is hourglass 0's skip at its finest level, `b2_4` and
`b3_4` go down and up there, `b2_plus_1` is the bottom. `models/hourglass.py` nests the
levels instead; its docstring has the two side by side.
"""

import re
from typing import Any

import numpy as np

from i2z_jax.config import HourglassConfig
from i2z_jax.convert.mapping import (
    Entry,
    Published,
    Stages,
    Tensors,
    batch_norm,
    conv,
    random_image,
)
from i2z_jax.models.hourglass import Hourglass
from i2z_jax.types import Array


def infer_config(tensors: Tensors) -> HourglassConfig:
    """Stacks, levels and widths."""
    stacks = {n.split(".")[0] for n in tensors if re.match(r"m\d+\.", n)}
    levels = {n.split(".")[1] for n in tensors if n.startswith("m0.b1_")}
    return HourglassConfig(
        block="hierarchical",
        stacks=len(stacks),
        stem=(len(tensors["conv1.weight"]), len(tensors["conv3.bn1.weight"])),
        features=len(tensors["bn_end0.weight"]),
        landmarks=len(tensors["l0.weight"]),
        depth=len(levels),
    )


def entries(config: HourglassConfig) -> list[Entry]:
    """The table of a configuration, in the order of the data flow."""
    first, second = config.stem
    table = [*conv("conv1", "conv1"), *batch_norm("bn1", "bn1")]
    table += _block("conv2", widens=first != second)
    table += _block("conv3", widens=False)
    table += _block("conv4", widens=second != config.features)
    for s in range(config.stacks):
        stack = f"stacks.{s}"
        table += _hourglass(f"m{s}", f"{stack}.hourglass", config.depth)
        table += _block(f"top_m_{s}", f"{stack}.top")
        table += conv(f"conv_last{s}", f"{stack}.conv")
        table += batch_norm(f"bn_end{s}", f"{stack}.bn")
        table += conv(f"l{s}", f"{stack}.heatmaps")
        if s < config.stacks - 1:
            table += conv(f"bl{s}", f"{stack}.merge_features")
            table += conv(f"al{s}", f"{stack}.merge_heatmaps")
    return table


def _hourglass(torch: str, flax: str, level: int) -> list[Entry]:
    table = [
        *_block(f"{torch}.b1_{level}", f"{flax}.up1"),
        *_block(f"{torch}.b2_{level}", f"{flax}.low1"),
        *_block(f"{torch}.b3_{level}", f"{flax}.low3"),
    ]
    if level > 1:
        return [*table, *_hourglass(torch, f"{flax}.low2", level - 1)]
    return [*table, *_block(f"{torch}.b2_plus_1", f"{flax}.low2")]


def _block(torch: str, flax: str | None = None, *, widens: bool = False) -> list[Entry]:
    flax = flax or torch
    table: list[Entry] = []
    for i in (1, 2, 3):
        table += batch_norm(f"{torch}.bn{i}", f"{flax}.bn{i}")
        table += conv(f"{torch}.conv{i}", f"{flax}.conv{i}", bias=False)
    if widens:
        table += batch_norm(f"{torch}.downsample.0", f"{flax}.skip_bn")
        table += conv(f"{torch}.downsample.2", f"{flax}.skip", bias=False)
    return table


def stages(module: Hourglass, inputs: dict[str, Array]) -> dict[str, Any]:
    """Heatmaps of every stack of ours."""
    return {f"heatmaps {i + 1}": x for i, x in enumerate(module(inputs["image"]))}


def reference(
    config: HourglassConfig, tensors: Tensors, inputs: dict[str, np.ndarray]
) -> Stages:
    """Heatmaps of every stack of PyTorch's."""
    from i2z_jax.convert.torch_reference.hourglass import TorchFAN, TorchPrinceton
    from i2z_jax.convert.torch_reference.run import run

    network = TorchFAN if config.block == "hierarchical" else TorchPrinceton
    maps = run(network(config), tensors, inputs["image"])
    return {f"heatmaps {i + 1}": x for i, x in enumerate(maps)}


PUBLISHED = Published(
    name="fan",
    architecture="hourglass",
    licence="BSD-3-Clause (1adrianb/face-alignment); trained on 300W-LP, whose images "
    "are for research",
    signature=("conv1.weight", "m0.b1_1.bn1.weight", "l0.weight"),
    infer_config=infer_config,
    entries=entries,
    sample=random_image,
    stages=stages,
    reference=reference,
)
