# SPDX-License-Identifier: Apache-2.0
"""torchvision's VGG-16 and VGG-19, with and without batch normalisation.

torchvision counts all layers in one row, `features.N`: per block its convolutions,
each with BN (if any) and ReLU behind it, then a pooling layer. Only layers with
parameters have names, so N says where the blocks are.
"""

from typing import Any

import numpy as np

from i2z_jax.config import VGGConfig
from i2z_jax.convert.mapping import (
    Entry,
    Published,
    Stages,
    Tensors,
    batch_norm,
    conv,
    random_image,
)
from i2z_jax.models.vgg import BLOCKS, VGG, VGGMaps
from i2z_jax.types import Array


def infer_config(tensors: Tensors) -> VGGConfig:
    """Depth, BN and widths; ValueError if it is neither VGG-16 nor VGG-19."""
    features = [n.split(".") for n in tensors if n.startswith("features.")]
    kernels = sorted(
        int(number)
        for _, number, kind in features
        if kind == "weight" and tensors[f"features.{number}.weight"].ndim == 4
    )
    depths = {sum(blocks): depth for depth, blocks in BLOCKS.items()}
    if len(kernels) not in depths:
        raise ValueError(f"{len(kernels)} convolutions; VGG-16 has 13, VGG-19 has 16")
    depth: Any = depths[len(kernels)]
    last_of_blocks = np.cumsum(BLOCKS[depth]) - 1
    widths: Any = tuple(
        len(tensors[f"features.{kernels[i]}.weight"]) for i in last_of_blocks
    )
    batch_normed = any(kind == "running_mean" for _, _, kind in features)
    return VGGConfig(depth=depth, batch_norm=batch_normed, channels=widths)


def entries(config: VGGConfig) -> list[Entry]:
    """The table of a configuration, in the order of the data flow."""
    table: list[Entry] = []
    number = 0
    for b, units in enumerate(BLOCKS[config.depth]):
        for i in range(units):
            table += conv(f"features.{number}", f"blocks.{b}.{i}.conv")
            if config.batch_norm:
                number += 1
                table += batch_norm(f"features.{number}", f"blocks.{b}.{i}.bn")
            number += 2  # over the ReLU
        number += 1  # over the pooling
    return table


def stages(module: VGG, inputs: dict[str, Array]) -> dict[str, Any]:
    """The four taps of our network."""
    return module(inputs["image"])._asdict()


def reference(
    config: VGGConfig, tensors: Tensors, inputs: dict[str, np.ndarray]
) -> Stages:
    """The four taps of PyTorch's."""
    from i2z_jax.convert.torch_reference.run import run
    from i2z_jax.convert.torch_reference.vgg import TorchVGG

    maps = run(TorchVGG(config), tensors, inputs["image"])
    return dict(zip(VGGMaps._fields, maps, strict=True))


PUBLISHED = Published(
    name="vgg",
    architecture="vgg",
    licence="BSD-3-Clause (torchvision); trained on ImageNet, whose images are for "
    "non-commercial research",
    signature=("features.0.weight", "features.0.bias"),
    infer_config=infer_config,
    entries=entries,
    sample=random_image,
    stages=stages,
    reference=reference,
    ignored={r"classifier\..*": "the classifier, which no stream needs"},
)
