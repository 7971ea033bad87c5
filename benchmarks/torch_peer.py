# SPDX-License-Identifier: Apache-2.0
"""The regression step as a PyTorch engineer would write it to be fast.

Frozen streams under `no_grad` in evaluation mode, VGG's BN folded into its
convolutions, channels-last, bf16 autocast, cuDNN's algorithms chosen by trying them,
uint8 to the device, fused AdamW, and all of it again under `torch.compile`. Streams
and decoder are the references that conversions are proved against; the trained part is
written here from DESIGN section 3 and filled with our parameters.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmarks.networks import Networks
from i2z_jax.checkpoint import named_arrays
from i2z_jax.convert.torch_reference.dam import TorchDAM
from i2z_jax.convert.torch_reference.hourglass import TorchFAN
from i2z_jax.convert.torch_reference.vgg import TorchVGG
from i2z_jax.models.dam import texture_plan
from i2z_jax.objectives.regress import RegressWeights
from i2z_jax.presets import Preset


class Rescale(nn.Module):
    """One scale per image, then a learned scale and bias per channel, in float32."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        x = x.float()
        x = x * (x.square().mean((1, 2, 3), keepdim=True) + 1e-6).rsqrt()
        return x * self.scale[:, None, None] + self.bias[:, None, None]


class LevelEncoder(nn.Module):
    def __init__(self, side: int, channels: int, size: int):
        super().__init__()
        half, few = channels // 4, channels // 16
        self.compress1 = nn.Conv2d(channels, half, 3, padding=1)
        self.compress2 = nn.Conv2d(half, few, 3, padding=1)
        self.to_z = nn.Linear(side * side * few, size)
        self.to_pose = nn.Linear(side * side * few, size)

    def forward(self, u):
        x = self.compress2(self.compress1(u).relu()).relu()
        # h w c, as the map lies in memory.
        x = x.permute(0, 2, 3, 1).flatten(1)
        return self.to_z(x), self.to_pose(x)


class Regressor(nn.Module):
    def __init__(self, sizes: tuple[int, ...]):
        super().__init__()
        self.layers = nn.ModuleList(map(nn.Linear, sizes, sizes[1:]))

    def forward(self, p):
        x = torch.cat(p, 1)
        for layer in self.layers:
            x = layer(x.relu())
        return x


class Trained(nn.Module):
    """Stream maps to z and H: what `I2ZNet.regress` is."""

    def __init__(self, sizes: Preset):
        super().__init__()
        config = sizes.i2z
        vgg = (*config.vgg.channels[2:], config.vgg.channels[4])
        landmarks = config.hourglass.landmarks
        sides = [config.image_size // d for d in (4, 8, 16, 32)]
        self.vgg = nn.ModuleList(map(Rescale, vgg))
        self.heatmaps = nn.ModuleList(Rescale(landmarks) for _ in vgg)
        self.encoders = nn.ModuleList(
            LevelEncoder(side, c + landmarks, config.level_size)
            for side, c in zip(sides, vgg, strict=True)
        )
        widths = (4 * config.level_size, *config.hidden)
        self.z_regressor = Regressor((*widths, config.z_size))
        self.pose_regressor = Regressor((*widths, 6))

    def forward(self, maps, heatmaps):
        to_z, to_pose = [], []
        for level, x in enumerate(maps):
            if level > 0:
                heatmaps = functional.max_pool2d(heatmaps, 2)
            u = torch.cat((self.vgg[level](x), self.heatmaps[level](heatmaps)), 1)
            p = self.encoders[level](u)
            to_z.append(p[0])
            to_pose.append(p[1])
        return self.z_regressor(to_z), self.pose_regressor(to_pose)


def forms() -> dict[str, bool]:
    """Both ways to run it, by whether it is compiled."""
    # As many threads as this process may use (taskset), which is what XLA counts.
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    # A GPU's convolutions are chosen by trying them, once a shape, as XLA's are.
    torch.backends.cudnn.benchmark = torch.cuda.is_available()
    return {"PyTorch": False, "PyTorch compiled": True}


class Peer:
    """The networks on the device, and one step of their training.

    Args:
        compiled: use `torch.compile`.
        dtype: "bfloat16" is autocast; parameters and losses are float32.
    """

    def __init__(
        self, networks: Networks, sizes: Preset, *, compiled: bool, dtype: str
    ):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.sizes, self.half = sizes, dtype == "bfloat16"
        layout: Any = {"device": self.device, "memory_format": torch.channels_last}
        self.vgg = frozen(TorchVGG(sizes.i2z.vgg), networks.tensors["vgg"])
        fold(self.vgg)
        self.fan = frozen(TorchFAN(sizes.i2z.hourglass), networks.tensors["hourglass"])
        plan = texture_plan(sizes.dam.texture_size)
        self.dam = frozen(TorchDAM(sizes.dam, *plan), networks.tensors["dam"])
        self.trained = Trained(sizes)
        fill(self.trained, networks.net)
        for network in (self.vgg, self.fan, self.dam, self.trained):
            network.to(**layout)

        def constant(x: Any) -> torch.Tensor:
            return torch.from_numpy(np.array(x, np.float32)).to(self.device)

        net, statistics = networks.net, networks.dam.statistics
        self.pose_mean, self.pose_std = map(constant, (net.pose_mean, net.pose_std))
        self.vert_mean = constant(statistics.vert_mean)
        self.tex_mean = constant(statistics.tex_mean).permute(2, 0, 1)
        self.vert_std = float(statistics.vert_var[...]) ** 0.5
        self.tex_std = float(statistics.tex_var[...]) ** 0.5
        compile_ = torch.compile if compiled else lambda f: f
        self.streams = compile_(self._streams)
        self.loss = compile_(self._loss)
        self.encoder = compile_(self._encode)
        self.decoder = compile_(self._decode)
        self.optimizer = torch.optim.AdamW(
            self.trained.parameters(), lr=3e-4, weight_decay=0.0, fused=True
        )

    def batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """On the device; images as uint8, `b 3 h w` lying as `b h w 3`."""
        found = {k: torch.from_numpy(v).to(self.device) for k, v in batch.items()}
        return found | {"image": found["image"].permute(0, 3, 1, 2)}

    def _autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def _streams(self, image):
        x = image.float() / 255
        return self.vgg(x), self.fan(x)[-1]

    def _loss(self, maps, heatmaps, batch):
        """The terms of `objectives/regress.py`, weighted and reduced as there."""
        z, pose = self.trained(maps, heatmaps)
        z, pose = z.float(), self.pose_mean + self.pose_std * pose.float()
        normal, vertices = self.dam.decode(z, self._view(pose))
        with torch.no_grad():
            target, _ = self.dam.decode(batch["z"], self._view(batch["pose"]))
        vertices = vertices.float() * self.vert_std + self.vert_mean
        weights = RegressWeights()
        side = self.sizes.i2z.image_size
        ours = self._project(pose, batch["vertices"])
        theirs = self._project(batch["pose"], batch["vertices"])
        difference = (normal.float() - target.float()) * self.tex_std
        terms = {
            "z": (z - batch["z"]).square().mean(),
            "vertices": distance(vertices - batch["vertices"]).mean(),
            "reprojection": distance((ours - theirs) * (side / 2)).mean(),
            "pose": ((pose - batch["pose"]) / self.pose_std).square().mean(),
            "texture": difference.square().mean(),
        }
        loss = sum(getattr(weights, name) * term for name, term in terms.items())
        return loss, terms

    def _rotation(self, pose):
        (cx, cy, cz), (sx, sy, sz) = pose[:, 1:4].cos().T, pose[:, 1:4].sin().T
        rows = (
            (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
            (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
            (-sy, cy * sx, cy * cx),
        )
        rotation = torch.stack([torch.stack(row, -1) for row in rows], -2)
        return rotation * rotation.new_tensor((1.0, -1.0, -1.0))

    def _view(self, pose):
        return -self._rotation(pose)[:, 2]

    def _project(self, pose, vertices):
        turned = vertices @ self._rotation(pose)[:, :2].transpose(1, 2)
        return pose[:, None, :1] * turned + pose[:, None, 4:6]

    def _encode(self, image):
        z, pose = self.trained(*self._streams(image))
        return z.float(), self.pose_mean + self.pose_std * pose.float()

    def _decode(self, z, view):
        texture, vertices = self.dam.decode(z, view)
        return (
            vertices.float() * self.vert_std + self.vert_mean,
            (texture.float() * self.tex_std + self.tex_mean).permute(0, 2, 3, 1),
        )

    def run(self, part, *arguments: torch.Tensor):
        """`vgg`, `fan`, `streams`, `encoder` or `decoder`, done when it returns."""
        with torch.no_grad(), self._autocast():
            result = part(*arguments)
        return self._wait(result)

    def step(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """One step; the loss before it, its terms, and the gradient's norm."""
        with self._autocast():
            with torch.no_grad():
                maps, heatmaps = self.streams(batch["image"])
            loss, terms = self.loss(maps, heatmaps, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        metrics = {"loss": loss, "grad_norm": norm, **terms}
        return self._wait({name: x.detach() for name, x in metrics.items()})

    def _wait(self, result: Any) -> Any:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return result


def distance(x):
    """sqrt(|x|² + eps²) - eps, as `losses.norm`."""
    return (x.square().sum(-1) + 1e-12).sqrt() - 1e-6


def frozen(network: nn.Module, tensors: Mapping[str, np.ndarray]) -> nn.Module:
    """In evaluation mode, without gradients, filled with tensors by name."""
    names = network.state_dict().keys() & tensors.keys()
    state = {name: torch.from_numpy(np.array(tensors[name])) for name in names}
    missing = network.load_state_dict(state, strict=False).missing_keys
    assert all("num_batches" in name for name in missing), missing
    return network.eval().requires_grad_(False)


def fold(vgg: TorchVGG) -> None:
    """BN into the convolution before it, as inference engines do."""
    layers = vgg.features
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.BatchNorm2d):
            layers[number - 1] = fuse_conv_bn_eval(layers[number - 1], layer)
            layers[number] = nn.Identity()


def fill(trained: Trained, net: Any) -> None:
    """Our parameters into the peer's: paths are the same but for `unify`."""
    arrays = named_arrays(net)
    for name, parameter in trained.named_parameters():
        path = name.replace("weight", "kernel")
        if name.startswith(("vgg.", "heatmaps.")):
            path = f"unify.{path}"
        array = np.asarray(arrays[path])
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2:
            array = array.T
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(array.copy()))
