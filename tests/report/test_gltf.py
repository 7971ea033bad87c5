# SPDX-License-Identifier: Apache-2.0
"""What a sequence with holes and odd times looks like as an animation."""

import dataclasses

import numpy as np
import pytest

from i2z_jax.report.gltf import write_glb
from i2z_jax.report.morphs import Morphs
from i2z_jax.track.result import Status
from tests.report.glb_reader import Glb
from tests.track.tracks import STILL, track
from tests.track.worlds import average, topology


def written(tmp_path, value) -> Glb:
    base = average().astype(np.float32)
    count = int(value.usable.sum())
    weights = np.linspace(-1, 1, count, dtype=np.float32)[:, None]
    shape = Morphs(base, base[None] * 0.1, weights, 0.01, np.full(count, 0.001))
    texture = np.full((8, 8, 3), 128, np.uint8)
    write_glb(tmp_path / "mesh.glb", value, shape, topology(), texture)
    return Glb((tmp_path / "mesh.glb").read_bytes())


def test_lost_frames_hold_the_last_face_and_are_listed(tmp_path):
    status = np.zeros(90)
    status[:3] = status[40:50] = Status.LOST
    pose = STILL.copy()
    pose[:, 2] = np.linspace(-0.5, 0.5, 90)
    glb = written(tmp_path, track(pose, status))
    held = [0, 1, 2, *range(40, 50)]
    assert glb.json["asset"]["extras"]["held_frames"] == held
    for name, (times, values) in glb.animation().items():
        values = values.reshape(len(times), -1)
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values[:3], values[[3, 3, 3]], err_msg=name)
        np.testing.assert_array_equal(values[40:50], values[[39] * 10], err_msg=name)
    turns = glb.animation()["rotation"][1]
    assert np.abs(np.diff(turns[3:40], axis=0)).max(axis=1).min() > 0


def test_frames_of_one_time_have_one_key(tmp_path):
    value = track(STILL)
    times = value.time_s.copy()
    times[10] = times[9]
    glb = written(tmp_path, dataclasses.replace(value, time_s=times))
    for keys, _ in glb.animation().values():
        assert len(keys) == 89


def test_quaternions_take_the_short_way(tmp_path):
    pose = STILL.copy()
    pose[:, 1] = np.linspace(-3.5, 3.5, 90)  # once around and a bit
    turns = written(tmp_path, track(pose)).animation()["rotation"][1]
    np.testing.assert_allclose(np.linalg.norm(turns, axis=1), 1, atol=1e-6)
    assert (np.sum(turns[1:] * turns[:-1], axis=1) > 0.9).all()


def sampled(glb: Glb, times: np.ndarray) -> dict[str, np.ndarray]:
    """What a viewer shows at any time: LINEAR samplers, quaternions normalised."""
    shown = {}
    for name, (keys, values) in glb.animation().items():
        values = values.reshape(len(keys), -1).astype(float)
        columns = [np.interp(times, keys, column) for column in values.T]
        shown[name] = np.stack(columns, axis=-1)
    shown["rotation"] /= np.linalg.norm(shown["rotation"], axis=1, keepdims=True)
    return shown


# After an hour, float32 tells times apart that are a quarter of a millisecond away.
@pytest.mark.parametrize("late_s", [0, 3600])
def test_nothing_slides_from_one_shot_into_the_next(tmp_path, late_s):
    """Shots are 40 frames, 1 frame and the rest, whose first frames are lost."""
    shots = np.repeat([0, 1, 2], [40, 1, 49])
    pose = STILL + shots[:, None] * [0.003, 0.9, 0.5, -1.2, -0.5, 0.4]
    pose[:, 1] += np.linspace(0, 0.2, 90)
    status = np.zeros(90)
    status[41:45] = Status.LOST
    value = track(pose, status, cuts=[40, 41])
    later = value.time_s + late_s * (np.arange(90) > 0)
    glb = written(tmp_path, dataclasses.replace(value, time_s=later))
    frames = later.astype(np.float32)
    shown = sampled(glb, frames)
    # Frames without a face hold the shot before.
    shots[41:45] = 1
    steps = np.linspace(0, 0.96, 15)
    times = frames[1:-1, None] + np.diff(frames[1:])[:, None] * steps
    between = sampled(glb, times.reshape(-1))
    for name, values in between.items():
        for shot in range(3):
            own = shown[name][shots == shot]
            within = values.reshape(*times.shape, -1)[shots[1:-1] == shot]
            assert (within >= own.min(axis=0) - 1e-5).all(), (name, shot)
            assert (within <= own.max(axis=0) + 1e-5).all(), (name, shot)
    assert np.abs(np.diff(shown["translation"][[39, 40, 45], 0])).min() > 0.02
    turns = glb.animation()["rotation"][1]
    assert (np.sum(turns[1:] * turns[:-1], axis=1) > 0).all()
