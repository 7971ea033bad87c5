# SPDX-License-Identifier: Apache-2.0
"""PyTorch reference of VGG's convolutional part, with torchvision's tensor names."""

import torch
from torch import nn

from i2z_jax.config import VGGConfig

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class TorchVGG(nn.Module):
    """Four maps of an RGB image `b 3 h w` in [0, 1]: conv 3, 4, 5 and pool 5."""

    def __init__(self, config: VGGConfig):
        super().__init__()
        layers: list[nn.Module] = []
        # Number of each pooling layer in `features`.
        self.pools: list[int] = []
        inputs = 3
        for outputs, count in zip(
            config.channels, CONVOLUTIONS[config.depth], strict=True
        ):
            for _ in range(count):
                layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
                if config.batch_norm:
                    layers.append(nn.BatchNorm2d(outputs))
                layers.append(nn.ReLU())
                inputs = outputs
            self.pools.append(len(layers))
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        mean = image.new_tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
        std = image.new_tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)
        x = (image - mean) / std
        taps = []
        for number, layer in enumerate(self.features):
            if number in self.pools[2:]:
                taps.append(x)
            x = layer(x)
        return *taps, x
