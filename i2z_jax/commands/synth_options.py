# SPDX-License-Identifier: Apache-2.0
"""What the `i2z synth` commands share: sizes by name, and who is seen."""

from typing import Any, NamedTuple, TypeVar

from i2z_jax.errors import InputError, require_at_least, require_at_most


class CaptureSizes(NamedTuple):
    frames: int
    cameras: int
    width: int
    height: int
    texture_size: int
    vertices: int


class VideoSizes(NamedTuple):
    frames: int
    width: int
    height: int
    texture_size: int
    vertices: int


class LandmarkSizes(NamedTuple):
    count: int
    width: int
    height: int
    texture_size: int
    vertices: int


class HeadSizes(NamedTuple):
    vertices: int


Sizes = TypeVar("Sizes", CaptureSizes, VideoSizes, LandmarkSizes, HeadSizes)

CAPTURE_SIZES = {
    "tiny": CaptureSizes(
        frames=320, cameras=4, width=224, height=256, texture_size=128, vertices=1500
    ),
    "small": CaptureSizes(
        frames=600, cameras=16, width=448, height=512, texture_size=256, vertices=3000
    ),
    "paper": CaptureSizes(
        frames=3000, cameras=38, width=1334, height=2048, texture_size=1024,
        vertices=7000,
    ),
}  # fmt: skip
VIDEO_SIZES = {
    "tiny": VideoSizes(
        frames=90, width=240, height=320, texture_size=128, vertices=1500
    ),
    "small": VideoSizes(
        frames=300, width=480, height=640, texture_size=256, vertices=3000
    ),
    "paper": VideoSizes(
        frames=900, width=1080, height=1920, texture_size=1024, vertices=7000
    ),
}
LANDMARK_SIZES = {
    "tiny": LandmarkSizes(
        count=120, width=256, height=256, texture_size=128, vertices=3000
    ),
    "small": LandmarkSizes(
        count=1000, width=384, height=384, texture_size=256, vertices=3000
    ),
    "paper": LandmarkSizes(
        count=4437, width=640, height=640, texture_size=512, vertices=7000
    ),
}
# Smallest sizes that make sense, and largest that a machine's memory or a year allow;
# of textures, the largest that the rasteriser lays out for a head's many triangles.
LEAST = {
    "frames": 4, "cameras": 1, "width": 32, "height": 32, "texture_size": 16,
    "vertices": 500, "count": 8,
}  # fmt: skip
MOST = {
    "frames": 10**6, "cameras": 1000, "width": 8192, "height": 8192,
    "texture_size": 2048, "vertices": 10**6, "count": 10**6,
}  # fmt: skip
# Numbers that something is drawn by, where a command has them.
DRAWN_BY = ("seed", "identity")


def chosen(config: Any, sizes: Sizes) -> Sizes:
    """A preset's sizes with those that were given in their place.

    Raises:
        InputError: a size too small or too large to be rendered, or a negative seed.
    """
    given = {name: getattr(config, name) for name in sizes._fields}
    sizes = sizes._replace(**{name: v for name, v in given.items() if v is not None})
    require_at_least(sizes, {name: LEAST[name] for name in sizes._fields})
    require_at_most(sizes, {name: MOST[name] for name in sizes._fields})
    require_at_least(config, {name: 0 for name in DRAWN_BY if hasattr(config, name)})
    return sizes


def captured(config: Any, sizes: CaptureSizes | VideoSizes) -> Any:
    """The subject of a capture and of its videos: `captured_head`, and its texture.

    Raises:
        InputError: part of a scan, files that are none, or too large a picture.
    """
    from i2z_jax.geometry.raster import require_drawable
    from i2z_jax.synth.scan_subject import scan_subject
    from i2z_jax.synth.sitter import procedural_subject

    if config.texture is not None and config.template is None:
        raise InputError("needs --template", where="--texture")
    head = captured_head(config, sizes.vertices)
    require_drawable(len(head.topology.faces), sizes.height, sizes.width)
    if config.template is None:
        return procedural_subject(head, sizes.texture_size)
    return scan_subject(head, config.texture, sizes.texture_size)


def captured_head(config: Any, vertices: int) -> Any:
    """A scan's head, or a procedural one.

    Args:
        config: a command's, with `identity`, `template` and `topology`.
        vertices: about how many a procedural head has.

    Raises:
        InputError: part of a scan, or files that are none.
    """
    import numpy as np

    from i2z_jax.synth.head import ProceduralHead
    from i2z_jax.synth.identity import Identity
    from i2z_jax.synth.scan_subject import read_scan_head

    if config.template is not None:
        return read_scan_head(config.template, config.topology)
    if config.topology is not None:
        raise InputError("needs --template", where="--topology")
    number = config.identity
    who = Identity.sample(np.random.default_rng(number)) if number else Identity()
    return ProceduralHead(who, vertices)
