# SPDX-License-Identifier: Apache-2.0
"""Which texels count, and how much: a user's mask, and the regions of the face."""

from pathlib import Path

import cv2
import jax.numpy as jnp
import numpy as np
from PIL import Image

from i2z_jax.data.multiface import read_texture
from i2z_jax.errors import InputError
from i2z_jax.evaluate.predict import MeshTables
from i2z_jax.geometry.raster import interpolate
from i2z_jax.types import Array, Float, NDArray


def read_texture_mask(path: str | Path, size: int) -> Float[NDArray, "t t"]:
    """Weights of texels, [0, 1], from a picture in the layout of a texture's file.

    Row 0 is v = 0, which a file has last. Of RGB the mean counts.

    Args:
        path: such as Multiface's `loss_weight_mask.png`.
        size: side of the textures, texels.

    Raises:
        InputError: unreadable, not square, neither grey nor RGB, or black everywhere.
    """
    mask = read_texture(path)
    with Image.open(path) as picture:
        mode = picture.mode
    if mode not in ("1", "L", "RGB"):
        raise InputError(
            "a mask is a grey or an RGB picture",
            where=path,
            got=f"a picture of mode {mode}",
            fix="convert it, as `ffmpeg -i IN -pix_fmt gray OUT.png` does",
        )
    weight = mask.astype(np.float32).mean(-1) / 255
    shrinks = len(mask) > size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    weight = cv2.resize(weight, (size, size), interpolation=interpolation)
    if not weight.any():
        raise InputError(
            "no texel counts", where=path, expected="white where one does", got="black"
        )
    return weight


def texel_weights(
    mesh: MeshTables, mask: Float[NDArray, "t t"] | None = None
) -> dict[str, Float[Array, "t t"]]:
    """Weights of texels by figure: "texture" for all, "eyes_texture" and so on for the
    regions, whose border fades over a triangle.

    Args:
        mask: factor of all of them.
    """
    size = len(mesh.arrays.texel_map.triangle)
    whole = jnp.ones((size, size)) if mask is None else jnp.asarray(mask)
    weights = {"texture": whole}
    for name, of_vertices in mesh.regions.items():
        region = interpolate(
            of_vertices[:, None], mesh.arrays.faces, *mesh.arrays.texel_map
        )
        weights[f"{name}_texture"] = whole * region[..., 0]
    return weights
