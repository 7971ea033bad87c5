# SPDX-License-Identifier: Apache-2.0
"""One frame of a capture -> its records: what workers of `build_multiview` do.

H is the weak-perspective fit to the calibrated camera (DESIGN 5); its residual, what
weak perspective cannot express, is stored beside it.
"""

import fnmatch
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from i2z_jax.data import framing, images
from i2z_jax.data.build_options import MultiviewOptions
from i2z_jax.data.capture_topology import topology_of
from i2z_jax.data.multiface import Capture, Frame, read_texture
from i2z_jax.data.shards import Gap
from i2z_jax.data.warp import sample_crop
from i2z_jax.errors import InputError
from i2z_jax.geometry.camera import camera_direction
from i2z_jax.geometry.crop import box_of_points
from i2z_jax.geometry.fit import fit_calibrated_pose, require_in_front
from i2z_jax.geometry.topology import landmark_points


class Moment(NamedTuple):
    """One frame of one source."""

    root: Path
    source: int
    frame: Frame


class ViewsOfMoment(NamedTuple):
    """The cameras of one frame that go into one split."""

    moment: Moment
    frame_index: int
    cameras: tuple[str, ...]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one of these, or fits one as a pattern (`*`, `?`)."""
    return any(name == each or fnmatch.fnmatchcase(name, each) for each in patterns)


@functools.lru_cache(maxsize=4)
def _capture(root: Path) -> Capture:
    return Capture(root)


def encode_frame(moment: Moment, *, options: MultiviewOptions) -> Iterator[dict]:
    """What is stored once a frame."""
    opened, frame = _capture(moment.root), moment.frame
    yield {
        "vertices": opened.vertices(*frame),
        **_texture(opened.paths.texture(frame), _side(opened, options), options),
        "world_from_head": opened.world_from_head(*frame).astype(np.float32),
        "source": moment.source,
        "segment": frame.segment,
        "frame": _number(frame),
    }


def encode_views(
    views: ViewsOfMoment, *, options: MultiviewOptions
) -> Iterator[dict | Gap]:
    """What is stored for each camera of a frame."""
    moment, opened = views.moment, _capture(views.moment.root)
    vertices = opened.vertices(*moment.frame).astype(np.float64)
    world_from_head = opened.world_from_head(*moment.frame)
    rows = {name: row for row, name in enumerate(opened.cameras)}
    for name in views.cameras:
        try:
            yield {
                **_view(opened, moment.frame, name, vertices, world_from_head, options),
                "camera": rows[name],
                "source": moment.source,
                "segment": moment.frame.segment,
                "frame": _number(moment.frame),
                "frame_index": views.frame_index,
            }
        except InputError as error:
            yield Gap(str(error))


def _view(
    opened: Capture,
    frame: Frame,
    name: str,
    vertices: np.ndarray,
    world_from_head: np.ndarray,
    options: MultiviewOptions,
) -> dict[str, Any]:
    camera = opened.cameras[name]
    pixels, depth = camera.project(world_from_head, vertices)
    require_in_front(depth, camera=name)
    path = opened.paths.image(frame, name)
    image = images.read_picture(path)
    topology = topology_of(opened.paths.root, options)
    if topology is None or topology.landmark_faces is None:
        box, source = framing.mesh_box(pixels), "mesh"
    else:
        landmarks, _ = camera.project(
            world_from_head, landmark_points(topology, vertices)
        )
        box, source = np.asarray(box_of_points(landmarks)), "landmarks"
    height, width = image.shape[:2]
    if not (0 < (box[0] + box[2]) / 2 < width and 0 < (box[1] + box[3]) / 2 < height):
        raise InputError(
            "the face is outside the picture", where=path, got=f"box {box.round()}"
        )
    crop_from_image = framing.crop_for_box(box, source, options.crop_size)
    crop = sample_crop(image, crop_from_image, options.crop_size)
    fit = fit_calibrated_pose(
        camera.intrinsics,
        camera.camera_from_world,
        world_from_head,
        vertices,
        crop_from_image,
        options.crop_size,
    )
    view = camera_direction(camera.camera_from_world, world_from_head)
    record = {
        "image": images.encode(crop, options.image_codec),
        "pose": np.asarray(fit.pose, np.float32),
        "pose_residual_px": np.float32(fit.residual),
        "view": np.asarray(view, np.float32),
        "crop_from_image": crop_from_image.astype(np.float32),
    }
    if options.view_textures:
        path = opened.paths.texture(frame, name)
        record |= _texture(path, _side(opened, options), options)
    return record


def _side(opened: Capture, options: MultiviewOptions) -> int:
    """Texels a side of what is stored, as `CaptureSource.texture_size` has it."""
    return min(options.texture_size, len(opened.statistics.texture_mean))


def _texture(path: Path, size: int, options: MultiviewOptions) -> dict[str, bytes]:
    """A texture file at the size and in the codec of the dataset, rows as in files, and
    what was seen of it; the very bytes when it is a PNG of that size already and PNG is
    asked for."""
    texture = read_texture(path)[::-1]
    side = len(texture)
    if side < size:
        raise InputError(
            "a texture smaller than tex_mean.png",
            where=path,
            expected=f"{size} texels a side",
            got=side,
            fix="if all of them are, build with --texture-size",
        )
    if side > size:
        texture = _shrunk(texture, size)
    elif options.texture_codec == path.suffix[1:]:
        return {"texture": path.read_bytes(), "seen": images.encode_seen(texture)}
    return images.encode_texture(texture, options.texture_codec)


def _shrunk(texture: np.ndarray, size: int) -> np.ndarray:
    """Means over what was seen, where that is one half or more; 0 elsewhere."""

    def means(x: np.ndarray) -> np.ndarray:
        return cv2.resize(x, (size, size), interpolation=cv2.INTER_AREA)

    share = means(np.asarray(texture.any(-1), np.float32))[..., None]
    colours = means(texture.astype(np.float32)) / np.maximum(share, 1e-6)
    return colours.round().clip(1, 255).astype(np.uint8) * (share >= 0.5)


def _number(frame: Frame) -> int:
    try:
        return int(frame.number)
    except ValueError as error:
        raise InputError(
            f"frame {frame.number} is not a number", where=frame.segment
        ) from error
