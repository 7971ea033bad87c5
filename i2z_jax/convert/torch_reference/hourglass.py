# SPDX-License-Identifier: Apache-2.0
"""PyTorch reference implementations of both stacked hourglasses.

`TorchFAN` has the tensor names of 1adrianb/face-alignment, `TorchPrinceton` those of
princeton-vl/pytorch_stacked_hourglass. Written from the papers' figures and the names.
"""

import torch
from torch import nn
from torch.nn import functional

from i2z_jax.config import HourglassConfig


class HierarchicalBlock(nn.Module):
    """FAN's block: three normed, activated 3x3, concatenated and added to the input."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        sizes = (inputs, outputs // 2, outputs // 4)
        for i, (a, b) in enumerate(zip(sizes, (*sizes[1:], sizes[2]), strict=True), 1):
            setattr(self, f"bn{i}", nn.BatchNorm2d(a))
            setattr(self, f"conv{i}", nn.Conv2d(a, b, 3, padding=1, bias=False))
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.BatchNorm2d(inputs),
                nn.ReLU(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
            )

    def forward(self, x):
        first = self.conv1(self.bn1(x).relu())
        second = self.conv2(self.bn2(first).relu())
        third = self.conv3(self.bn3(second).relu())
        skip = self.downsample(x) if hasattr(self, "downsample") else x
        return torch.cat((first, second, third), 1) + skip


class FlatHourglass(nn.Module):
    """All levels' blocks side by side; level 1 is the coarsest."""

    def __init__(self, depth: int, size: int):
        super().__init__()
        self.depth = depth
        for level in range(depth, 0, -1):
            for name in ("b1", "b2", "b3"):
                setattr(self, f"{name}_{level}", HierarchicalBlock(size, size))
        self.b2_plus_1 = HierarchicalBlock(size, size)

    def forward(self, x):
        return self._level(self.depth, x)

    def _level(self, level, x):
        low = getattr(self, f"b2_{level}")(functional.avg_pool2d(x, 2))
        low = self.b2_plus_1(low) if level == 1 else self._level(level - 1, low)
        low = getattr(self, f"b3_{level}")(low)
        up = functional.interpolate(low, scale_factor=2, mode="nearest")
        return getattr(self, f"b1_{level}")(x) + up


class TorchFAN(nn.Module):
    """Heatmaps of every stack, a quarter of the size of the RGB image in [0, 1]."""

    def __init__(self, config: HourglassConfig):
        super().__init__()
        (first, second), size = config.stem, config.features
        self.conv1 = nn.Conv2d(3, first, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = HierarchicalBlock(first, second)
        self.conv3 = HierarchicalBlock(second, second)
        self.conv4 = HierarchicalBlock(second, size)
        self.stacks = config.stacks
        for s in range(config.stacks):
            setattr(self, f"m{s}", FlatHourglass(config.depth, size))
            setattr(self, f"top_m_{s}", HierarchicalBlock(size, size))
            setattr(self, f"conv_last{s}", nn.Conv2d(size, size, 1))
            setattr(self, f"bn_end{s}", nn.BatchNorm2d(size))
            setattr(self, f"l{s}", nn.Conv2d(size, config.landmarks, 1))
            if s < config.stacks - 1:
                setattr(self, f"bl{s}", nn.Conv2d(size, size, 1))
                setattr(self, f"al{s}", nn.Conv2d(config.landmarks, size, 1))

    def forward(self, image):
        x = self.bn1(self.conv1(image)).relu()
        x = functional.avg_pool2d(self.conv2(x), 2)
        x = self.conv4(self.conv3(x))
        heatmaps = []
        for s in range(self.stacks):
            part = {n: getattr(self, f"{n}{s}") for n in ("m", "top_m_", "conv_last")}
            y = part["conv_last"](part["top_m_"](part["m"](x)))
            y = getattr(self, f"bn_end{s}")(y).relu()
            heatmaps.append(getattr(self, f"l{s}")(y))
            if s < self.stacks - 1:
                x = (
                    x
                    + getattr(self, f"bl{s}")(y)
                    + getattr(self, f"al{s}")(heatmaps[-1])
                )
        return heatmaps


class Conv(nn.Module):
    """Convolution under a name of its own, optionally normed and activated."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 1,
        stride: int = 1,
        normed: bool = False,
    ):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)
        if normed:
            self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = self.conv(x)
        return self.bn(x).relu() if hasattr(self, "bn") else x


class Bottleneck(nn.Module):
    """Newell's residual; its skip convolution exists even where it is not used."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        half = outputs // 2
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), Conv(inputs, half)
        self.bn2, self.conv2 = nn.BatchNorm2d(half), Conv(half, half, 3)
        self.bn3, self.conv3 = nn.BatchNorm2d(half), Conv(half, outputs)
        self.skip_layer = Conv(inputs, outputs)
        self.widens = inputs != outputs

    def forward(self, x):
        y = self.conv1(self.bn1(x).relu())
        y = self.conv2(self.bn2(y).relu())
        y = self.conv3(self.bn3(y).relu())
        return y + (self.skip_layer(x) if self.widens else x)


class NestedHourglass(nn.Module):
    def __init__(self, depth: int, size: int):
        super().__init__()
        self.up1 = Bottleneck(size, size)
        self.low1 = Bottleneck(size, size)
        self.low2 = (
            NestedHourglass(depth - 1, size) if depth > 1 else Bottleneck(size, size)
        )
        self.low3 = Bottleneck(size, size)

    def forward(self, x):
        low = self.low3(self.low2(self.low1(functional.max_pool2d(x, 2))))
        return self.up1(x) + functional.interpolate(low, scale_factor=2, mode="nearest")


class Merge(nn.Module):
    """One more layer of names around a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = Conv(inputs, outputs)

    def forward(self, x):
        return self.conv(x)


class TorchPrinceton(nn.Module):
    """Heatmaps of every stack, a quarter of the size of the RGB image in [0, 1]."""

    def __init__(self, config: HourglassConfig):
        super().__init__()
        (first, second), size = config.stem, config.features
        stacks, between = range(config.stacks), range(config.stacks - 1)
        landmarks = config.landmarks
        self.pre = nn.Sequential(
            Conv(3, first, 7, stride=2, normed=True),
            Bottleneck(first, second),
            nn.MaxPool2d(2),
            Bottleneck(second, second),
            Bottleneck(second, size),
        )
        self.hgs = nn.ModuleList(
            nn.Sequential(NestedHourglass(config.depth, size)) for _ in stacks
        )
        self.features = nn.ModuleList(
            nn.Sequential(Bottleneck(size, size), Conv(size, size, normed=True))
            for _ in stacks
        )
        self.outs = nn.ModuleList(Conv(size, landmarks) for _ in stacks)
        self.merge_features = nn.ModuleList(Merge(size, size) for _ in between)
        self.merge_preds = nn.ModuleList(Merge(landmarks, size) for _ in between)

    def forward(self, image):
        x = self.pre(image)
        heatmaps = []
        for s, hourglass in enumerate(self.hgs):
            y = self.features[s](hourglass(x))
            heatmaps.append(self.outs[s](y))
            if s < len(self.merge_preds):
                x = x + self.merge_features[s](y) + self.merge_preds[s](heatmaps[-1])
        return heatmaps
