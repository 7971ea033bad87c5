# SPDX-License-Identifier: Apache-2.0
"""What is known of a whole capture."""

import json

import numpy as np

from i2z_jax.data.capture_source import capture_nearness
from i2z_jax.data.records import folder, open_frames


def test_the_capture_s_cameras_are_as_near_as_their_matrices_say(toy_data):
    source = folder(toy_data, "multiview_capture") / "sources" / "0"
    cameras = json.loads((source / "cameras.json").read_text())
    head = np.asarray(open_frames(toy_data)[0]["world_from_head"])
    # Where the head's origin is for each camera.
    seen = [np.asarray(c["camera_from_world"]) @ [*head[:, 3], 1] for c in cameras]
    distance = np.median(np.linalg.norm(seen, axis=1))
    np.testing.assert_allclose(1 / capture_nearness(toy_data), distance, rtol=0.02)
