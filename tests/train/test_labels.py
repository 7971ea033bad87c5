# SPDX-License-Identifier: Apache-2.0
"""What is known of a whole capture."""

import json
import sys
from pathlib import Path

import numpy as np

from i2z_jax import cluster
from i2z_jax.config import DAMConfig
from i2z_jax.data.capture_source import capture_nearness
from i2z_jax.data.records import folder, open_frames
from i2z_jax.train.labels import encode_frames
from tests.models.weights import random_module
from tests.processes import finish_all, start_cluster
from tests.toy import TEXTURE


def test_the_capture_s_cameras_are_as_near_as_their_matrices_say(toy_data):
    source = folder(toy_data, "multiview_capture") / "sources" / "0"
    cameras = json.loads((source / "cameras.json").read_text())
    head = np.asarray(open_frames(toy_data)[0]["world_from_head"])
    # Where the head's origin is for each camera.
    seen = [np.asarray(c["camera_from_world"]) @ [*head[:, 3], 1] for c in cameras]
    distance = np.median(np.linalg.norm(seen, axis=1))
    np.testing.assert_allclose(1 / capture_nearness(toy_data), distance, rtol=0.02)


def encoded(data, **options):
    vertices = len(open_frames(data)[0]["vertices"])
    sizes = DAMConfig(z_size=8, vertices=vertices, texture_size=TEXTURE)
    return encode_frames(random_module("dam", sizes), data, **options)


def test_processes_share_the_frames_and_know_all_labels(toy_data, tmp_path):
    program = "-m", "tests.train.test_labels"
    finish_all(start_cluster(*program, toy_data, tmp_path, devices=2))
    alone = encoded(toy_data)
    assert alone.shape == (10, 8)
    scale = np.abs(alone).max()
    for process in range(2):
        z = np.load(tmp_path / f"z{process}.npy")
        # Convolutions of another batch size add in another order.
        np.testing.assert_allclose(z, alone, rtol=1e-5, atol=1e-5 * scale)
        # Of three batches of four frames it has read a half.
        assert int((tmp_path / f"decoded{process}").read_text()) == 6


def main(data, out):
    import jax

    from i2z_jax.train import labels

    cluster.join()
    decode, decoded = labels.decode_texture, []
    labels.decode_texture = lambda record: decoded.append(0) or decode(record)
    process = jax.process_index()
    np.save(out / f"z{process}.npy", encoded(data, batch_size=1))
    (out / f"decoded{process}").write_text(str(len(decoded)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
