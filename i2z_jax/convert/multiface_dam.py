# SPDX-License-Identifier: Apache-2.0
"""Multiface's deep appearance models (`best_model.pth`), all five variants.

Everything is inferred from names and shapes: variant, latent size (the public
checkpoints have 256, not the 128 of the class default), vertices, texture size and
cameras. The statistics are files of the capture, in the units of its textures, 0..255.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from i2z_jax.config import DAMConfig, DAMVariant
from i2z_jax.convert.mapping import (
    Entry,
    Layout,
    Published,
    Stages,
    Tensors,
    as_is,
    conv_kernel,
    dense_kernel,
    image,
    transposed_conv_kernel,
)
from i2z_jax.data.krt import read_krt
from i2z_jax.data.multiface import read_statistics
from i2z_jax.errors import InputError
from i2z_jax.models.dam import DAM, texture_plan
from i2z_jax.types import Array

STATISTICS = ("tex_mean.png", "tex_var.txt", "vert_mean.bin", "vert_var.txt")

UPSAMPLE = "dec.texture_decoder.upsample"


def infer_config(tensors: Tensors) -> DAMConfig:
    """Sizes and variant of a checkpoint; KeyError or ValueError if it is incomplete."""
    z_size = tensors["dec.z_fc.weight"].shape[1]
    start = math.isqrt(len(tensors["dec.texture_fc.weight"]) // z_size)
    blocks = len({n.split(".")[3] for n in tensors if n.startswith(UPSAMPLE + ".")})
    vertices, rest = divmod(len(tensors["dec.mesh_fc.weight"]), 3)
    if rest:
        raise ValueError("dec.mesh_fc.weight is not three rows a vertex")
    for name, identity in (("cc.weight_anchor", 1), ("cc.bias_anchor", 0)):
        if not np.all(tensors[name] == identity):
            raise ValueError(f"{name} is not {identity}: camera 0 is no anchor")
    return DAMConfig(
        variant=_infer_variant(tensors),
        z_size=z_size,
        vertices=vertices,
        texture_size=start * 4**blocks,
        cameras=1 + len(tensors["cc.weight"]),
    )


def _infer_variant(tensors: Tensors) -> DAMVariant:
    first = f"{UPSAMPLE}.0.conv1"
    if any(name.startswith("warp.") for name in tensors):
        return "warp"
    if f"{UPSAMPLE}.0.res1.weight" in tensors:
        return "res"
    if tensors[f"{first}.deconv.weight"].shape[-1] == 3:
        return "bilinear"
    return "non" if tensors[f"{first}.bias"].shape[-1] == 1 else "base"


def entries(config: DAMConfig) -> list[Entry]:
    """The table of a configuration, in the order of the data flow."""
    start, blocks = texture_plan(config.texture_size)
    residual = config.variant == "res"
    table = []
    for i in range(blocks):
        torch, flax = f"enc.texture_encoder.downsample.{i}", f"encoder.blocks.{i}"
        for conv, ours in (("conv1", "first"), ("conv2", "second")):
            table += _normed(f"{torch}.{conv}", f"{flax}.{ours}", conv_kernel)
        table += _residuals(torch, flax) if residual else []
    table += [
        # Flattened maps: channels first there, last here.
        *_normed("enc.texture_fc", "encoder.texture", _from_map(start)),
        *_normed("enc.mesh_fc", "encoder.mesh", dense_kernel),
        *_normed("enc.fc", "encoder.latent", dense_kernel),
        *_normed("dec.view_fc", "decoder.view", dense_kernel),
        *_normed("dec.z_fc", "decoder.state", dense_kernel),
        *_normed("dec.mesh_fc", "decoder.mesh", dense_kernel),
        *_to_map("dec.texture_fc", "decoder.texture", start),
    ]
    for i in range(blocks):
        torch, flax = f"{UPSAMPLE}.{i}", f"decoder.blocks.{i}"
        table += _up_block(torch, flax, repeats=config.variant == "bilinear")
        table += _residuals(torch, flax) if residual else []
    table += _warp(config) if config.variant == "warp" else []
    table += [
        Entry("cc.weight", "colour.scale", _anchored(1)),
        Entry("cc.bias", "colour.bias", _anchored(0)),
        Entry("tex_mean.png", "statistics.tex_mean", _texture(config.texture_size)),
        Entry("tex_var.txt", "statistics.tex_var", lambda x: x / 255**2),
        Entry("vert_mean.bin", "statistics.vert_mean"),
        Entry("vert_var.txt", "statistics.vert_var"),
    ]
    return table


def _warp(config: DAMConfig) -> list[Entry]:
    blocks = 3 if config.texture_size == 1024 else 2
    table = [
        *_normed("warp.mlp.0", "warp.first", dense_kernel),
        *_to_map("warp.mlp.2", "warp.second", 2),
    ]
    for i in range(blocks):
        table += _up_block(f"warp.upsample.{i}", f"warp.layers.{i}")
    if blocks == 2:
        table += _normed("warp.upsample.2", "warp.layers.2", transposed_conv_kernel)
    return table


def _up_block(torch: str, flax: str, *, repeats: bool = False) -> list[Entry]:
    table = []
    kernel = conv_kernel if repeats else transposed_conv_kernel
    for conv, ours in (("conv1", "first"), ("conv2", "second")):
        table += _normed(f"{torch}.{conv}.deconv", f"{flax}.{ours}", kernel)
        table.append(Entry(f"{torch}.{conv}.bias", f"{flax}.{ours}.texel_bias", image))
    return table


def _residuals(torch: str, flax: str) -> list[Entry]:
    return [
        *_normed(f"{torch}.res1", f"{flax}.first_residual", conv_kernel),
        *_normed(f"{torch}.res2", f"{flax}.second_residual", conv_kernel),
    ]


def _normed(
    torch: str, flax: str, kernel: Layout, vector: Layout = as_is
) -> list[Entry]:
    return [
        Entry(f"{torch}.weight", f"{flax}.kernel", kernel),
        Entry(f"{torch}.g", f"{flax}.g", vector),
        Entry(f"{torch}.bias", f"{flax}.bias", vector),
    ]


def _to_map(torch: str, flax: str, size: int) -> list[Entry]:
    """A linear layer whose outputs are a map: `c size size` -> `size size c`."""

    def vector(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, size, size).transpose(1, 2, 0).reshape(-1)

    def kernel(x: np.ndarray) -> np.ndarray:
        rows, columns = x.shape
        maps = x.reshape(-1, size, size, columns).transpose(3, 1, 2, 0)
        return maps.reshape(columns, rows)

    return _normed(torch, flax, kernel, vector)


def _from_map(size: int) -> Layout:
    """A linear layer whose inputs are a map."""

    def kernel(x: np.ndarray) -> np.ndarray:
        rows, columns = x.shape
        maps = x.reshape(rows, -1, size, size).transpose(2, 3, 1, 0)
        return maps.reshape(columns, rows)

    return kernel


def _anchored(identity: int) -> Layout:
    """`cameras-1 3 1 1` -> `cameras 3`: the anchor's row in front."""

    def rows(x: np.ndarray) -> np.ndarray:
        anchor = np.full((1, 3), identity, np.float32)
        return np.concatenate([anchor, x.reshape(-1, 3)])

    return rows


def _texture(size: int) -> Layout:
    """0..255 -> [0, 1] at the model's size, by means of blocks."""

    def mean(x: np.ndarray) -> np.ndarray:
        block = len(x) // size
        return x.reshape(size, block, size, block, 3).mean((1, 3)) / 255

    return mean


def read_companions(folder: Path, config: DAMConfig) -> Tensors:
    """The capture's statistics by file name, in their own units.

    Raises:
        InputError: files are missing (all are named), damaged, or of another mesh.
    """
    missing = [name for name in STATISTICS if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"no {', '.join(missing)}",
            where=folder,
            fix="give the folder of the capture, which has the model's statistics",
        )
    statistics = read_statistics(folder)
    if len(statistics.vertex_mean) != config.vertices:
        raise InputError(
            "statistics of another topology than the model's",
            where=folder / "vert_mean.bin",
            expected=f"{config.vertices} vertices",
            got=len(statistics.vertex_mean),
        )
    if len(statistics.texture_mean) % config.texture_size:
        raise InputError(
            "does not shrink to the model's textures",
            where=folder / "tex_mean.png",
            expected=f"a multiple of {config.texture_size} texels",
            got=len(statistics.texture_mean),
        )
    values = (
        statistics.texture_mean,
        statistics.texture_variance,
        statistics.vertex_mean,
        statistics.vertex_variance,
    )
    return {n: np.asarray(v) for n, v in zip(STATISTICS, values, strict=True)}


def camera_names(folder: Path | None, config: DAMConfig) -> dict[str, list[str]]:
    """Names of the colour correction's rows, which are in the order of the KRT."""
    krt = None if folder is None else folder / "KRT"
    if krt is None or not krt.is_file():
        return {}
    return {"cameras": list(read_krt(krt))[: config.cameras]}


def sample(config: DAMConfig, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random input of both halves; a few texels are exact zeros, as if not seen."""
    t = config.texture_size
    view = rng.normal(size=3)
    texture = rng.uniform(size=(1, t, t, 3))
    texture[:, : t // 8] = 0
    floats = {
        "vertices": rng.normal(0, 50, (1, config.vertices, 3)),
        "average_texture": texture,
        "z": rng.normal(size=(1, config.z_size)),
        "view": view[None] / np.linalg.norm(view),
    }
    inputs = {name: value.astype(np.float32) for name, value in floats.items()}
    return inputs | {"camera": np.array([config.cameras - 1], np.int32)}


def stages(module: DAM, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Both halves of our model on `sample`'s input, in mm and [0, 1]."""
    posterior = module.encode(inputs["vertices"], inputs["average_texture"])
    face = module.decode(inputs["z"], inputs["view"], inputs["camera"])
    return {
        "z mean": posterior.mean,
        "z log std": posterior.log_std,
        "vertices": face.vertices,
        "texture": face.texture,
    }


def reference(
    config: DAMConfig, tensors: Tensors, inputs: dict[str, np.ndarray]
) -> Stages:
    """The same stages from PyTorch, with the statistics' published units."""
    import torch

    from i2z_jax.convert.torch_reference.dam import TorchDAM
    from i2z_jax.convert.torch_reference.run import fill

    network = TorchDAM(config, *texture_plan(config.texture_size)).eval()
    fill(network, tensors)
    x = {name: torch.from_numpy(value) for name, value in inputs.items()}

    vert_mean = torch.from_numpy(tensors["vert_mean.bin"])
    vert_std = float(tensors["vert_var.txt"]) ** 0.5
    tex_std = float(tensors["tex_var.txt"]) ** 0.5
    tex_mean = torch.from_numpy(tensors["tex_mean.png"].copy())
    tex_mean = torch.nn.functional.interpolate(
        tex_mean.permute(2, 0, 1)[None], config.texture_size, mode="area"
    )
    colours = 255 * x["average_texture"].permute(0, 3, 1, 2)
    normal = ((colours - tex_mean) / tex_std).masked_fill(colours == 0, 0)
    with torch.no_grad():
        mean, log_std = network.encode(normal, (x["vertices"] - vert_mean) / vert_std)
        texture, vertices = network.decode(x["z"], x["view"], x["camera"].long())
    texture = (texture * tex_std + tex_mean) / 255
    found = {
        "z mean": mean,
        "z log std": log_std,
        "vertices": vertices * vert_std + vert_mean,
        "texture": texture.permute(0, 2, 3, 1),
    }
    return {name: value.numpy() for name, value in found.items()}


PUBLISHED = Published(
    name="dam",
    architecture="dam",
    licence="CC BY-NC 4.0: weights of facebookresearch/multiface",
    signature=("enc.mesh_fc.g", "dec.mesh_fc.g", f"{UPSAMPLE}.0.conv1.deconv.g"),
    infer_config=infer_config,
    entries=entries,
    sample=sample,
    stages=stages,
    reference=reference,
    ignored={r"cc\.(weight|bias)_anchor": "camera 0 is the anchor: the identity"},
    read_companions=read_companions,
    extras=camera_names,
)
