# SPDX-License-Identifier: Apache-2.0
"""PyTorch reference of the deep appearance model, with Multiface's tensor names.

Written from the description of the architecture (DESIGN section 4, Lombardi et al.
2018), so that a published `best_model.pth` loads strictly. It works in NCHW on
normalised vertices and textures; de-normalising is `multiface_dam.py`'s.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional

from i2z_jax.config import DAMConfig


class _Normed(nn.Module):
    """A weight that is divided by the Frobenius norm of all of it, times g."""

    def __init__(self, shape: tuple[int, ...], output_axis: int):
        super().__init__()
        outputs = shape[output_axis]
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.g = nn.Parameter(torch.ones(outputs))
        self.output_axis = output_axis

    def normed(self) -> torch.Tensor:
        along = [1] * self.weight.ndim
        along[self.output_axis] = -1
        # Not `.norm()`, whose float32 sum is off by 1e-4 for millions of weights.
        norm = self.weight.square().sum().sqrt()
        return self.weight * self.g.view(along) / norm


class Linear(_Normed):
    def __init__(self, inputs: int, outputs: int):
        super().__init__((outputs, inputs), 0)

    def forward(self, x):
        return functional.linear(x, self.normed(), self.bias)


class Convolution(_Normed):
    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1):
        super().__init__((outputs, inputs, size, size), 0)
        self.stride = stride

    def forward(self, x):
        return functional.conv2d(x, self.normed(), self.bias, self.stride, padding=1)


class Deconvolution(_Normed):
    def __init__(self, inputs: int, outputs: int):
        super().__init__((inputs, outputs, 4, 4), 1)

    def forward(self, x):
        return functional.conv_transpose2d(
            x, self.normed(), self.bias, stride=2, padding=1
        )


class TexelDeconvolution(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, variant: str):
        super().__init__()
        self.nearest = variant == "bilinear"
        layer = Convolution if self.nearest else Deconvolution
        self.deconv = layer(inputs, outputs)
        side = 1 if variant == "non" else size
        self.bias = nn.Parameter(torch.zeros(1, outputs, side, side))

    def forward(self, x):
        if self.nearest:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        return self.deconv(x) + self.bias


class Pair(nn.Module):
    """Two layers that halve or double; in `res`, a 3x3 convolution added to each."""

    def __init__(self, first: nn.Module, second: nn.Module, residuals: list[int]):
        super().__init__()
        self.conv1, self.conv2 = first, second
        added = [Convolution(channels, channels) for channels in residuals]
        self.res1, self.res2 = added or (None, None)

    def forward(self, x, final: bool = False):
        x = leaky(self.conv1(x))
        if self.res1 is not None:
            x = leaky(self.res1(x) + x)
        activation = nn.Identity() if final else leaky
        x = activation(self.conv2(x))
        return x if self.res2 is None else activation(self.res2(x) + x)


class TextureEncoder(nn.Module):
    def __init__(self, channels: tuple[int, ...], residual: bool):
        super().__init__()
        self.downsample = nn.Sequential(
            *(
                Pair(
                    Convolution(i, o, 4, 2),
                    Convolution(o, o, 4, 2),
                    [o, o] if residual else [],
                )
                for i, o in itertools.pairwise(channels)
            )
        )

    def forward(self, x):
        return self.downsample(x).flatten(1)


class TextureDecoder(nn.Module):
    def __init__(self, channels: tuple[int, ...], start: int, variant: str):
        super().__init__()
        self.start = start
        self.upsample = nn.ModuleList()
        size = start
        for i, o in itertools.pairwise(channels):
            residuals = [i, o] if variant == "res" else []
            first = TexelDeconvolution(i, i, 2 * size, variant)
            second = TexelDeconvolution(i, o, 4 * size, variant)
            self.upsample.append(Pair(first, second, residuals))
            size *= 4

    def forward(self, code):
        x = code.unflatten(1, (-1, self.start, self.start))
        for block in self.upsample:
            x = block(x, final=block is self.upsample[-1])
        return x


class Encoder(nn.Module):
    def __init__(self, config: DAMConfig, start: int, blocks: int):
        super().__init__()
        channels = (3, *(16, 32, 64, 128)[-blocks:])
        self.texture_encoder = TextureEncoder(channels, config.variant == "res")
        self.texture_fc = Linear(128 * start**2, 256)
        self.mesh_fc = Linear(3 * config.vertices, 256)
        self.fc = Linear(512, 2 * config.z_size)

    def forward(self, texture, vertices):
        texture_code = leaky(self.texture_fc(self.texture_encoder(texture)))
        mesh_code = leaky(self.mesh_fc(vertices.flatten(1)))
        mean, log_std = self.fc(torch.cat((texture_code, mesh_code), 1)).chunk(2, 1)
        return 0.1 * mean, 0.01 * log_std


class Decoder(nn.Module):
    def __init__(self, config: DAMConfig, start: int, blocks: int):
        super().__init__()
        channels = (config.z_size, *(64, 32, 16)[: blocks - 1], 3)
        self.texture_decoder = TextureDecoder(channels, start, config.variant)
        self.view_fc = Linear(3, 8)
        self.z_fc = Linear(config.z_size, 256)
        self.mesh_fc = Linear(256, 3 * config.vertices)
        self.texture_fc = Linear(256 + 8, config.z_size * start**2)

    def forward(self, z, view):
        state = leaky(self.z_fc(z))
        code = torch.cat((leaky(self.view_fc(view)), state), 1)
        texture = self.texture_decoder(leaky(self.texture_fc(code)))
        return texture, self.mesh_fc(state).unflatten(1, (-1, 3))


class Warp(nn.Module):
    """Field of 128² for 1024² textures, of 64² otherwise."""

    def __init__(self, z_size: int, texture_size: int):
        super().__init__()
        self.mlp = nn.Sequential(
            Linear(z_size, 256),
            nn.LeakyReLU(0.2),
            Linear(256, 1024),
            nn.LeakyReLU(0.2),
        )
        fine = texture_size == 1024
        hidden = ((128, 64), (64, 32), (32, 16)) if fine else ((128, 64), (32, 32))
        blocks, inputs, size = [], 256, 2
        for middle, outputs in hidden:
            first = TexelDeconvolution(inputs, middle, 2 * size, "warp")
            second = TexelDeconvolution(middle, outputs, 4 * size, "warp")
            blocks.append(Pair(first, second, []))
            inputs, size = outputs, 4 * size
        if not fine:
            blocks.append(Deconvolution(32, 2))
        self.upsample = nn.ModuleList(blocks)
        self.texture_size = texture_size

    def forward(self, z):
        x = self.mlp(z).unflatten(1, (256, 2, 2))
        for block in self.upsample[:-1]:
            x = block(x)
        last = self.upsample[-1]
        x = last(x, final=True) if isinstance(last, Pair) else last(x)
        steps = x.sigmoid()
        field = torch.stack((steps[:, 0].cumsum(2), steps[:, 1].cumsum(1)), 1)
        field = (0.032 * (field - field.mean((2, 3), keepdim=True))).clamp(-1, 1)
        return functional.interpolate(
            field, self.texture_size, mode="bilinear", align_corners=False
        )


class ColourCorrection(nn.Module):
    def __init__(self, cameras: int):
        super().__init__()
        self.weight_anchor = nn.Parameter(torch.ones(1, 3, 1, 1), requires_grad=False)
        self.bias_anchor = nn.Parameter(torch.zeros(1, 3, 1, 1), requires_grad=False)
        self.weight = nn.Parameter(torch.ones(cameras - 1, 3, 1, 1))
        self.bias = nn.Parameter(torch.zeros(cameras - 1, 3, 1, 1))

    def forward(self, texture, camera):
        scale = torch.cat((self.weight_anchor, self.weight))[camera]
        return texture * scale + torch.cat((self.bias_anchor, self.bias))[camera]


class TorchDAM(nn.Module):
    """All five variants; `start` and `blocks` as of `models.dam.texture_plan`."""

    def __init__(self, config: DAMConfig, start: int, blocks: int):
        super().__init__()
        self.enc = Encoder(config, start, blocks)
        self.dec = Decoder(config, start, blocks)
        if config.variant == "warp":
            self.warp = Warp(config.z_size, config.texture_size)
        self.cc = ColourCorrection(config.cameras)

    def encode(self, texture, vertices):
        """Normalised `b 3 t t` and `b n 3` -> mean and log-std of z."""
        return self.enc(texture, vertices)

    def decode(self, z, view, camera=None):
        """-> normalised texture `b 3 t t` and vertices `b n 3`."""
        texture, vertices = self.dec(z, view)
        if hasattr(self, "warp"):
            field = self.warp(z).permute(0, 2, 3, 1)
            # The defaults of grid_sample, spelled out.
            texture = functional.grid_sample(
                texture, field, "bilinear", "zeros", align_corners=False
            )
        if camera is not None:
            texture = self.cc(texture, camera)
        return texture, vertices


def leaky(x):
    return functional.leaky_relu(x, 0.2)
