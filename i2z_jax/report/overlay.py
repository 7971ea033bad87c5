# SPDX-License-Identifier: Apache-2.0
"""Overlay video of a track.

Wireframe and landmarks on the frame, the rendered face beside it. Drawn from the
track's values and the decoder alone. The face is rendered in crop coordinates at a
fixed size and warped into the frame by `crop_from_image`: the cost does not depend on
the size of the video.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from i2z_jax.data.warp import warped
from i2z_jax.drawing import draw_dots
from i2z_jax.geometry.camera import project_near, view_direction
from i2z_jax.geometry.crop import compose, image_from_unit, pixels_from_unit
from i2z_jax.geometry.render import render
from i2z_jax.geometry.topology import Topology
from i2z_jax.track.networks import FlatModule, Networks
from i2z_jax.track.result import Status, Track
from i2z_jax.types import Array, Float, NDArray, UInt8

# A panel is at most this high, px.
PANEL_HEIGHT = 720
# The face is drawn in a window this much larger than its crop: hair and chin of a
# turned head reach out of it.
MARGIN = 1.5
# The window's side is a multiple of this, px, and at most the second.
WINDOW_STEP, LARGEST_WINDOW = 64, 640
# Lines of equal u and v over the face.
GRID = 40
# Share of the picture that a grid line covers.
LINE_STRENGTH = 0.55

BACKGROUND = 28
LINE = 245
# Background left at each alpha, a look-up table.
UNCOVERED = np.round(BACKGROUND * np.linspace(1, 0, 256)).astype(np.uint8)
SEEN = (64, 224, 255)
POSED = (255, 96, 64)
_LABELS = {
    Status.TRACKED: "",
    Status.FOLLOWED: "followed",
    Status.INTERPOLATED: "interpolated",
    Status.LOST: "no face",
    Status.UNREADABLE: "unreadable frame",
}


class Window(NamedTuple):
    """Faces drawn in square windows around their crops.

    Attributes:
        face: RGBA, alpha 255 on the face.
        lines: 255 on the grid.
    """

    face: UInt8[Array, "b s s 4"]
    lines: UInt8[Array, "b s s"]


class Overlay:
    """Draws frames of a track.

    Args:
        networks: decoder and topology; the frames decoded and drawn at a time are its
            batch, and its clock gets the stages `render`, which holds the decoder,
            `overlay` and `compile`.
        track: the result; its median face decides the size of the drawing.
        mesh_landmarks: the mesh's landmarks in px of the frames, if it has any.
    """

    def __init__(
        self,
        networks: Networks,
        track: Track,
        mesh_landmarks: Float[NDArray, "f 68 2"] | None,
    ):
        self.track, self.mesh_landmarks = track, mesh_landmarks
        self.networks, self.clock = networks, networks.clock
        width, height = (int(side) for side in track.frame_size)
        zoom = min(1.0, PANEL_HEIGHT / height)
        even_width, even_height = (
            max(round(side * zoom / 2), 1) * 2 for side in (width, height)
        )
        self.size = even_width, even_height
        self.panel_from_image = np.array(
            [[self.size[0] / width, 0.0, 0.0], [0.0, self.size[1] / height, 0.0]]
        )
        self.window = _window_side(track, zoom)

    def frames(
        self, pictures: Iterable[tuple[int, UInt8[NDArray, "h w 3"] | None]]
    ) -> Iterator[UInt8[NDArray, "h2 w2 3"]]:
        """Both panels side by side, for `(row of the track, picture)` in order."""
        waiting: list[tuple[int, np.ndarray | None]] = []
        for item in pictures:
            waiting.append(item)
            if len(waiting) == self.networks.batch_size:
                yield from self._batch(waiting)
                waiting.clear()
        if waiting:
            yield from self._batch(waiting)

    def _batch(
        self, items: list[tuple[int, np.ndarray | None]]
    ) -> Iterator[UInt8[NDArray, "h2 w2 3"]]:
        rows = np.array([row for row, _ in items])
        z, pose = (
            np.nan_to_num(a[rows]).astype(np.float32)
            for a in (self.track.z, self.track.pose)
        )
        window = self.networks.rows(
            "render",
            draw,
            self.networks.dam,
            z,
            pose,
            topology=self.networks.system.topology,
            side=self.window,
            nearness=float(self.track.nearness),
        )
        # OpenCV releases the GIL.
        with self.clock.stage("overlay", len(items)), ThreadPoolExecutor() as pool:
            panels = list(pool.map(self._panels, *zip(*items, strict=True), *window))
        yield from panels

    def _panels(
        self,
        row: int,
        picture: UInt8[NDArray, "h w 3"] | None,
        face: UInt8[NDArray, "s s 4"],
        lines: UInt8[NDArray, "s s"],
    ) -> UInt8[NDArray, "h2 w2 3"]:
        width, height = self.size
        one = self.track[np.array([row])]
        both = np.full((height, 2 * width, 3), BACKGROUND, np.uint8)
        left, right = both[:, :width], both[:, width:]
        if picture is not None:
            left[:] = cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA)
        if one.usable[0]:
            rows, columns, to_part = self._covered(self._panel_from_window(one))
            if right[rows, columns].size:
                _lay_face(face, to_part, right[rows, columns])
                _lay_lines(lines, to_part, left[rows, columns])
            self._dots(left, one.landmarks[0], SEEN)
            if self.mesh_landmarks is not None:
                self._dots(left, self.mesh_landmarks[row], POSED)
        status = Status(int(one.status[0]))
        _write(left, f"{one.time_s[0]:.2f} s  {_LABELS[status]}")
        return both

    def _panel_from_window(self, one: Track) -> Float[NDArray, "2 3"]:
        image_from_crop = image_from_unit(one.crop_from_image, one.crop_size)[0]
        side = 2 * MARGIN / self.window
        unit_from_window = np.array([[side, 0.0, -MARGIN], [0.0, side, -MARGIN]])
        placed = compose(image_from_crop, unit_from_window)
        return np.asarray(compose(self.panel_from_image, np.asarray(placed)))

    def _covered(
        self, panel_from_window: Float[NDArray, "2 3"]
    ) -> tuple[slice, slice, Float[NDArray, "2 3"]]:
        """Rows and columns of the panel that the window reaches, and its place in them.

        Drawing costs what the face covers, not what the picture does.
        """
        side = float(self.window)
        corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]])
        reach = corners @ panel_from_window.T
        low = np.clip(np.floor(reach.min(0)).astype(int) - 1, 0, self.size)
        high = np.clip(np.ceil(reach.max(0)).astype(int) + 1, low, self.size)
        columns, rows = (slice(a, b) for a, b in zip(low, high, strict=True))
        to_part = panel_from_window.copy()
        to_part[:, 2] -= low
        return rows, columns, to_part

    def _dots(
        self,
        panel: UInt8[NDArray, "h w 3"],
        points: Float[NDArray, "l 2"],
        colour: tuple[int, int, int],
    ) -> None:
        scale = self.panel_from_image[[0, 1], [0, 1]]
        radius = float(max(1, round(self.size[1] / 300)))
        draw_dots(panel, points * scale, colour, radius)


@partial(jax.jit, static_argnames=("topology", "side", "nearness"))
def draw(
    dam: FlatModule,
    z: Float[Array, "b z"],
    pose: Float[Array, "b 6"],
    *,
    topology: Topology,
    side: int,
    nearness: float,
) -> Window:
    """Decode and draw faces in windows of `side` px, `MARGIN` times their crops.

    They are seen by a camera of some nearness, 1/mm. The grid follows u and v: a line
    is where the next pixel has another cell.
    """
    face = dam.module().decode(z, view_direction(pose))
    near = jnp.float32(nearness)
    points = project_near(pose, face.vertices, face.vertices, near)
    flat = pixels_from_unit(points[..., :2] / MARGIN, side)
    points = jnp.concatenate([flat, points[..., 2:]], axis=-1)
    size = face.texture.shape[1]
    ramp = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    uv = jnp.stack(jnp.meshgrid(ramp, ramp), axis=-1)

    def one(points: Array, texture: Array) -> tuple[Array, Array]:
        channels = jnp.concatenate([jnp.clip(texture, 0, 1), uv], axis=-1)
        return render(points, channels, topology, side, side)

    image, mask = jax.vmap(one)(points, face.texture)
    cell = jnp.where(mask[..., None], jnp.floor(image[..., 3:] * GRID), -1)
    right = jnp.any(cell != jnp.roll(cell, -1, axis=2), axis=-1)
    below = jnp.any(cell != jnp.roll(cell, -1, axis=1), axis=-1)
    opaque = mask[..., None].astype(jnp.float32)
    face = jnp.round(255 * jnp.concatenate([image[..., :3] * opaque, opaque], -1))
    lines = jnp.where(mask & (right | below), 255, 0)
    return Window(face.astype(jnp.uint8), lines.astype(jnp.uint8))


def _window_side(track: Track, zoom: float) -> int:
    """Enough px for the median face, so that laying it down neither blurs nor skips."""
    usable = track.crop_from_image[track.usable]
    if not len(usable):
        return WINDOW_STEP
    crop_px = track.crop_size / float(np.median(usable[:, 0, 0])) * zoom
    steps = -(-MARGIN * crop_px // WINDOW_STEP)
    return int(np.clip(steps * WINDOW_STEP, WINDOW_STEP, LARGEST_WINDOW))


def _lay_face(
    face: UInt8[NDArray, "s s 4"],
    panel_from_window: Float[NDArray, "2 3"],
    panel: UInt8[NDArray, "h w 3"],
) -> None:
    """Composite an RGBA face onto an empty panel."""
    laid = _warp(face, panel_from_window, panel)
    around = cv2.LUT(laid[..., 3], UNCOVERED)
    panel[:] = cv2.add(laid[..., :3], cv2.cvtColor(around, cv2.COLOR_GRAY2RGB))


def _lay_lines(
    lines: UInt8[NDArray, "s s"],
    panel_from_window: Float[NDArray, "2 3"],
    panel: UInt8[NDArray, "h w 3"],
) -> None:
    """A grid over a picture."""
    weight = _warp(lines, panel_from_window, panel) * np.float32(LINE_STRENGTH / 255)
    line = np.full_like(panel, LINE)
    panel[:] = cv2.blendLinear(np.ascontiguousarray(panel), line, 1 - weight, weight)


def _warp(
    image: UInt8[NDArray, "s s *c"],
    panel_from_window: Float[NDArray, "2 3"],
    panel: UInt8[NDArray, "h w 3"],
) -> UInt8[NDArray, "h w *c"]:
    """A window warped into a panel."""
    height, width, _ = panel.shape
    return warped(image, panel_from_window, (width, height))


def _write(panel: UInt8[NDArray, "h w 3"], text: str) -> None:
    scale = max(0.4, panel.shape[0] / 900)
    place = (int(14 * scale), panel.shape[0] - int(16 * scale))
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            panel, text.strip(), place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour,
            thickness, cv2.LINE_AA,
        )  # fmt: skip
