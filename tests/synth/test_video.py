# SPDX-License-Identifier: Apache-2.0
"""The decoded video agrees with its sidecar: dots are where the truth says."""

from pathlib import Path

import jax
import numpy as np
import pytest

from i2z_jax.data.truth import VideoTruth, read_truth, truth_path
from i2z_jax.data.video import read_frames
from i2z_jax.synth.video import VideoOptions, write_video
from tests.synth.multiface_reader import dot_centre
from tests.synth.pattern_head import DOTS, subject, vertex

EASY = VideoOptions(frames=6, width=240, height=320, difficulty=0.1, seed=3)


def render(path: Path, options: VideoOptions, **known) -> VideoTruth:
    return write_video(subject(), options, path, **known)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    render(path, EASY)
    return path


def test_dots_are_where_the_truth_projects_them(clip):
    truth, errors = read_truth(truth_path(clip)), []
    frames = list(read_frames(clip))
    assert len(frames) == len(truth.pose) == EASY.frames
    for frame, pose, crop, vertices in zip(
        frames, truth.pose, truth.crop_from_image, truth.vertices, strict=True
    ):
        f, rx, ry, rz, tx, ty = pose.astype(float)
        c, s = np.cos([rx, ry, rz]), np.sin([rx, ry, rz])
        x = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
        y = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
        z = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
        turned = vertices @ (z @ y @ x @ np.diag([1, -1, -1])).T
        in_crop = (f * turned[:, :2] + [tx, ty] + 1) / 2 * truth.crop_size
        seen = (in_crop - crop[:, 2]) @ np.linalg.inv(crop[:, :2]).T
        for place, colour in DOTS.items():
            expected = seen[vertex(*place)]
            left, top = (expected - 20).astype(int)
            if min(left, top) < 0:
                continue
            # Of the neighbourhood only: the background has colours too.
            patch = frame.image[top : top + 40, left : left + 40]
            found = dot_centre(patch / 255, colour)
            if found is not None:
                errors.append(np.linalg.norm(found + np.array([left, top]) - expected))
    # Weak perspective of a face of 200 px at 56 cm, and colours smeared by 4:2:0.
    assert len(errors) >= 10
    assert np.median(errors) < 3.0
    assert max(errors) < 6.0


def test_landmarks_are_on_the_face_in_the_frame(clip):
    truth = read_truth(truth_path(clip))
    assert truth.landmarks is not None
    height, width = EASY.height, EASY.width
    inside = (truth.landmarks > 0) & (truth.landmarks < [width, height])
    assert inside.all(-1).mean() > 0.9


def test_the_same_seed_is_the_same_clip(clip, tmp_path):
    again = tmp_path / "clip.mp4"
    render(again, EASY)
    assert again.read_bytes() == clip.read_bytes()
    first, second = read_truth(truth_path(clip)), read_truth(truth_path(again))
    np.testing.assert_array_equal(first.vertices, second.vertices)
    np.testing.assert_array_equal(first.pose, second.pose)


def test_z_belongs_to_the_mesh_of_its_frame(clip, tmp_path):
    """With the weights themselves for z, the head makes the frame's mesh of it."""
    render(tmp_path / "clip.mp4", EASY, latent=lambda weights: weights)
    truth = read_truth(truth_path(tmp_path / "clip.mp4"))
    meshes = jax.vmap(subject().head.vertices)(truth.z)
    np.testing.assert_allclose(meshes, truth.vertices, atol=1e-3)
    assert read_truth(truth_path(clip)).z is None


def test_difficulty_makes_it_move_and_shrinks_the_file(clip, tmp_path):
    hard = VideoOptions(frames=6, width=240, height=320, difficulty=1.0, seed=3)
    render(tmp_path / "hard.mp4", hard)
    easy, wild = (read_truth(truth_path(p)) for p in (clip, tmp_path / "hard.mp4"))
    assert (
        np.ptp(wild.pose[:, 1:4], axis=0).max()
        > np.ptp(easy.pose[:, 1:4], axis=0).max()
    )
    assert (tmp_path / "hard.mp4").stat().st_size < clip.stat().st_size


def test_a_failed_rendering_leaves_nothing(tmp_path):
    drawn = []

    def latent(weights):
        drawn.append(weights)
        if len(drawn) > EASY.frames / 2:
            raise RuntimeError("killed")
        return weights

    with pytest.raises(RuntimeError, match="killed"):
        render(tmp_path / "clip.mp4", EASY, latent=latent)
    assert list(tmp_path.iterdir()) == []
