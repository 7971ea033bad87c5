# SPDX-License-Identifier: Apache-2.0
"""A small capture in Multiface layout: an egg seen by three cameras.

Every picture is painted from the projected vertices (skin inside, a red dot on vertex
0), so that a wrong camera, mesh or crop shows.
"""

from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import ConvexHull

from i2z_jax.data import images
from i2z_jax.data import multiface as mf
from i2z_jax.data.krt import CalibratedCamera, write_krt
from i2z_jax.geometry.topology import Topology
from i2z_jax.geometry.topology import save as save_topology

WIDTH, HEIGHT, TEXTURE = 160, 200, 32
SEGMENTS = ("E001_Neutral", "E002_Smile", "EXP_ROM07")
FRAMES = ("000012", "000015", "000018")


def egg(count: int = 300) -> np.ndarray:
    """Points spread evenly over an egg of 150 x 200 x 160 mm, y up, z to the front."""
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    around = np.sqrt(1 - height**2)
    points = np.stack([around * np.sin(turn), height, around * np.cos(turn)], axis=1)
    # The tip of the nose is vertex 0.
    points = np.roll(points, -int(np.argmax(points[:, 2])), axis=0)
    return points * (75.0, 100.0, 80.0)


def egg_topology() -> Topology:
    """The egg's convex hull; u goes around it, v up."""
    points = egg()
    faces = ConvexHull(points).simplices.astype(np.int32)
    around = np.arctan2(points[:, 0], points[:, 2]) / (2 * np.pi) + 0.5
    uvs = np.stack([around, points[:, 1] / 200 + 0.5], axis=1).astype(np.float32)
    return Topology(faces, uvs, faces, len(points))


def camera_at(degrees: float) -> CalibratedCamera:
    """A camera 1 m from the origin, turned about the y axis, looking at the face."""
    angle = np.radians(degrees)
    # Rows: right, down, forward, in world axes (y up, the face looks along +z).
    forward = np.array([-np.sin(angle), 0.0, -np.cos(angle)])
    right = np.array([np.cos(angle), 0.0, -np.sin(angle)])
    rotation = np.stack([right, [0.0, -1.0, 0.0], forward])
    intrinsics = np.array([[700.0, 0, WIDTH / 2], [0, 700.0, HEIGHT / 2], [0, 0, 1]])
    rigid = np.column_stack([rotation, -rotation @ (-1000.0 * forward)])
    return CalibratedCamera(intrinsics, np.zeros(5), rigid)


CAMERAS = {f"4000{i:02d}": camera_at(a) for i, a in enumerate((-30.0, 0.0, 25.0))}


def write_capture(root: Path, *, seed: int = 0) -> Path:
    """Write the capture, whole: 3 segments x 3 frames x 3 cameras."""
    rng = np.random.default_rng(seed)
    layout = mf.Layout(root)
    base = egg()
    write_krt(layout.krt, CAMERAS)
    frames = [mf.Frame(s, f) for s in SEGMENTS for f in FRAMES]
    for frame in frames:
        vertices = (base + rng.normal(0, 1, base.shape)).astype(np.float32)
        angle = rng.uniform(-0.2, 0.2)
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        world_from_head = np.column_stack([turn, rng.uniform(-20, 20, 3)])
        mf.write_vertices(layout.mesh(frame), vertices)
        mf.write_transform(layout.transform(frame), world_from_head)
        for name, camera in CAMERAS.items():
            pixels, _ = camera.project(world_from_head, vertices.astype(float))
            mf.write_bytes(layout.image(frame, name), paint(pixels, rng))
            mf.write_bytes(layout.texture(frame, name), noise(rng))
        mf.write_bytes(layout.texture(frame), noise(rng))
    save_topology(layout.topology, egg_topology())
    mean = rng.uniform(0, 255, (TEXTURE, TEXTURE, 3)).astype(np.float32)
    mf.write_statistics(layout, mf.Statistics(mean, 400.0, base.astype("f4"), 1.0))
    mf.write_frame_list(layout.frame_list, frames)
    return root


def paint(pixels: np.ndarray, rng: np.random.Generator) -> bytes:
    image = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    hull = cv2.convexHull((pixels - 0.5).astype(np.float32)).astype(np.int32)
    cv2.fillConvexPoly(image, hull, (200, 160, 130))
    x, y = (pixels[0] - 0.5).round().astype(int)
    cv2.circle(image, (int(x), int(y)), 3, (255, 0, 0), -1)
    return images.encode(image, "png")


def noise(rng: np.random.Generator) -> bytes:
    size = (TEXTURE, TEXTURE, 3)
    return images.encode(rng.integers(0, 255, size, dtype=np.uint8), "png")
