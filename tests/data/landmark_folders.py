# SPDX-License-Identifier: Apache-2.0
"""A small folder in 300-W layout: an ellipse for a face, 68 red pixels on it."""

from pathlib import Path

import numpy as np

from i2z_jax.data import ibug, images


def face(rng: np.random.Generator, width: int = 120, height: int = 100):
    """A picture and 68 whole-pixel landmarks at distinct red pixels, pixels."""
    image = np.full((height, width, 3), 40, np.uint8)
    cells = rng.permutation((width // 2 // 4) * (height // 2 // 4))[:68]
    x = width // 4 + 4 * (cells % (width // 2 // 4))
    y = height // 4 + 4 * (cells // (width // 2 // 4))
    image[y, x] = (255, 0, 0)
    return image, np.stack([x, y], axis=1) + 0.5


def write_layout(root: Path, rng: np.random.Generator, *, each: int = 2) -> Path:
    """`each` pictures in every folder; iBUG has a name with a space."""
    for folder in ibug.FOLDERS:
        (root / folder).mkdir(parents=True)
        for number in range(each):
            name = f"image_{number:03d}"
            if folder == "ibug" and number == 0:
                name = "image_092 _01"
            write_pair(root / folder / name, rng)
    return root


def write_pair(stem: Path, rng: np.random.Generator) -> None:
    image, points = face(rng)
    Path(f"{stem}.png").write_bytes(images.encode(image, "png"))
    ibug.write_pts(f"{stem}.pts", points)
