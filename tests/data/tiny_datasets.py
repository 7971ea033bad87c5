# SPDX-License-Identifier: Apache-2.0
"""Small built datasets with contents that a test can name: no capture, no video."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from i2z_jax.data import images, records
from i2z_jax.data.finish import finish
from i2z_jax.data.shards import Job, write_shards
from i2z_jax.data.tfds_builder import adopt

CAMERAS, SIDE, TEXTURE, VERTICES = 4, 64, 32, 30


def multiview(out: Path, *, frames: int = 6) -> Path:
    """Views in frame-major order: view i is frame i // CAMERAS, camera i % CAMERAS."""
    rng = np.random.default_rng(3)
    moments = [
        {
            "vertices": rng.normal(0, 50, (VERTICES, 3)).astype(np.float32),
            **images.encode_texture(picture(rng, TEXTURE), "png"),
            "world_from_head": np.eye(3, 4, dtype=np.float32),
            "source": 0,
            "segment": f"SEG{frame % 2}",
            "frame": 100 + frame,
        }
        for frame in range(frames)
    ]
    views = [
        {
            "image": images.encode(picture(rng, SIDE), "jpeg"),
            "pose": np.float32([0.008, 0.1, 0.2, 0.3, 0.0, 0.1]),
            "pose_residual_px": 0.5,
            "view": np.float32([0, 0, 1]),
            "camera": camera,
            "source": 0,
            "segment": moments[frame]["segment"],
            "frame": 100 + frame,
            "frame_index": frame,
            "crop_from_image": np.eye(2, 3, dtype=np.float32),
            **images.encode_texture(picture(rng, TEXTURE), "png"),
        }
        for frame in range(frames)
        for camera in range(CAMERAS)
    ]
    name = "multiview_capture"
    counts = write(out, name, "train", moments, "frames", "frame_textures")
    counts |= write(out, name, "train", views, "views", "view_textures")
    finish(out, name, [out], [], counts, [], [])
    return out


def video(out: Path, *, cut: list[int], duplicate: list[int], frames: int) -> Path:
    """Frame i is a picture of the grey level i."""
    records_ = [
        {
            "image": images.encode(np.full((SIDE, SIDE, 3), i, np.uint8), "png"),
            "video": "clip.mp4",
            "frame": i,
            "time_s": i / 30,
            "box": np.float32([0, 0, SIDE, SIDE]),
            "box_found": True,
            "crop_from_image": np.eye(2, 3, dtype=np.float32),
            "duplicate": i in duplicate,
            "cut": i in cut,
            "has_truth": False,
            "pose": np.zeros(6, np.float32),
            "vertices": np.zeros((0, 3), np.float32),
            "landmarks": np.zeros((68, 2), np.float32),
            "z": np.zeros(0, np.float32),
        }
        for i in range(frames)
    ]
    name = "monocular_video"
    finish(out, name, [out], [], write(out, name, "train", records_), [], [])
    return out


def picture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Smooth random colours."""
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 2.0)


def write(
    out: Path, name: str, split: str, examples: list[dict[str, Any]], *configs: str
) -> dict[str, dict[str, int]]:
    """Records as given, as one split, divided over configs; `finish` is still to be
    called with the counts."""
    job = Job(split, tuple(range(len(examples))))
    features = {each: records.features(f"{name}/{each}") for each in configs}
    shards = write_shards(
        [job],
        lambda item: [examples[item]],
        features or {"": records.features(name)},
        out / "work" / name,
        workers=1,
        strict=True,
        what="tiny",
    )
    return {
        each or "": adopt(name, shards, out, splits=[split], config=each)
        for each in configs or (None,)
    }
