# SPDX-License-Identifier: Apache-2.0
"""A video whose motion is known, watched by networks that know it or half of it."""

from dataclasses import replace

import numpy as np
import pytest

from i2z_jax.data import images
from i2z_jax.data.pipeline import VideoFrames
from i2z_jax.errors import InputError
from i2z_jax.evaluate import video
from tests.data import tiny_datasets
from tests.data.captures import egg
from tests.evaluate import worlds

FRAMES = 6


def motion(frames: int = FRAMES):
    """A head that speeds up: t² px of a 256 px crop to the right; a still mesh."""
    poses = np.tile([0.008, 0.0, 0.1, 0.0, 0.0, 0.0], (frames, 1))
    poses[:, 4] = np.arange(frames) ** 2 / 128
    return poses, np.tile(egg()[None], (frames, 1, 1))


def pictures(directory) -> np.ndarray:
    frames = VideoFrames(directory)
    return np.stack([frames[i]["image"] for i in range(len(frames))])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return worlds.video(tmp_path_factory.mktemp("clip"), *motion())


def scores(clip, runner, poses, vertices, **options):
    system = worlds.video_oracle(pictures(clip), poses, vertices)
    return video.evaluate_video({"ours": system}, clip, runner, **options)


def test_a_perfect_tracker_scores_zero_and_moves_like_the_truth(clip, runner):
    found = scores(clip, runner, *motion())
    ours, truth = found.rows
    assert (ours["predictor"], truth["predictor"]) == ("ours", "ground truth")
    for name in ("vertex_mm", "eyes_mm", "mouth_mm", "pose_px", "pose_deg"):
        assert ours[name] == 0, name
    assert ours["nme_percent"] < 1e-4
    # d²(t²)/dt² = 2 px.
    for one in (ours, truth):
        assert one["jitter_px"] == pytest.approx(2, rel=1e-4)
        assert one["jitter_mm"] == 0
    assert ours["cftc_residual"] == pytest.approx(truth["cftc_residual"], rel=1e-6)
    undefined = np.isnan(found.frames["ours"]["jitter_px"])
    assert undefined.tolist() == [True, True] + [False] * (FRAMES - 2)


def test_known_errors_are_found(clip, runner):
    poses, vertices = motion()
    poses[:, 5] += 5 / 128
    vertices = vertices + np.array([0, 2.0, 0])
    vertices[3] += np.array([0, 0, 1.5])  # one frame sticks out
    ours, _ = scores(clip, runner, poses, vertices).rows
    assert ours["pose_px"] == pytest.approx(5, abs=1e-3)
    expected = (5 * 2 + np.hypot(2, 1.5)) / 6
    assert ours["vertex_mm"] == pytest.approx(expected, rel=1e-4)
    # Seen by the triples around frame 3: 1.5, 3, 1.5 over four triples.
    assert ours["jitter_mm"] == pytest.approx((1.5 + 3 + 1.5) / 4, rel=1e-4)


def test_a_known_state_is_compared_with_one_of_its_size(tmp_path, runner):
    """The oracle's z is the number of the frame, and three zeros."""
    for size, expected in ((4, 5.0), (3, None), (0, None)):
        z = np.zeros((FRAMES, 4), np.float32)
        z[:, 0], z[:, 1] = np.arange(FRAMES) + 3, 4
        clip = worlds.video(tmp_path / str(size), *motion(), z=z[:, :size])
        ours, truth = scores(clip, runner, *motion()).rows
        assert ours.get("z_distance") == (expected and pytest.approx(expected))
        assert "z_distance" not in truth


def test_truths_with_and_without_a_state_are_measured_together(tmp_path, runner):
    """Two videos in one dataset; and two trackers of which one has another decoder."""
    z = [np.zeros(4 if i < 3 else 0, np.float32) for i in range(FRAMES)]
    clip = worlds.video(tmp_path / "mixed", *motion(), z=z)
    ours, _ = scores(clip, runner, *motion()).rows
    assert ours["vertex_mm"] == 0
    assert "z_distance" not in ours
    clip = worlds.video(
        tmp_path / "whole", *motion(), z=np.zeros((FRAMES, 4), np.float32)
    )
    system = worlds.video_oracle(pictures(clip), *motion())
    net = replace(system.net, z=system.net.z[:, :2])
    systems = {"other": system._replace(net=net), "ours": system}
    other, ours, _ = video.evaluate_video(systems, clip, runner).rows
    assert "z_distance" not in other
    assert ours["z_distance"] == pytest.approx(np.mean(np.arange(FRAMES)))


def test_jitter_is_measured_in_the_video_not_in_its_crops(tmp_path, runner):
    """A crop that jumps with the face standing still is no jitter."""
    poses, vertices = motion()
    poses[:, 4] = 0
    jumps = np.array([0, 6, -3, 8, 1, 0.0])  # crop px
    crops = np.tile(np.float32([[0.5, 0, 0], [0, 0.5, 0]]), (FRAMES, 1, 1))
    crops[:, 0, 2] = jumps
    poses[:, 4] = jumps / 32
    clip = worlds.video(tmp_path, poses, vertices, crop_from_image=crops)
    ours, truth = scores(clip, runner, poses, vertices).rows
    assert ours["jitter_px"] == pytest.approx(0, abs=1e-4)
    assert truth["jitter_px"] == pytest.approx(0, abs=1e-4)


def test_cuts_and_repetitions(tmp_path, runner):
    """Frame 2 repeats frame 1, frame 4 starts another take: nothing is measured
    across a cut, and a repetition is as if it were not there."""
    poses, vertices = motion()
    poses[:, 4] = np.array([0, 1, 1, 4, 50, 51]) / 128
    clip = worlds.video(
        tmp_path,
        poses,
        vertices,
        cut=[True, False, False, False, True, False],
        duplicate=[False, False, True, False, False, False],
    )
    found = scores(clip, runner, poses, vertices)
    jitter = found.frames["ours"]["jitter_px"]
    assert np.flatnonzero(np.isfinite(jitter)).tolist() == [3]
    assert jitter[3] == pytest.approx(2, rel=1e-4)
    consistency = found.frames["ours"]["cftc_residual"]
    assert np.flatnonzero(np.isfinite(consistency)).tolist() == [1, 3, 5]


def test_means_are_over_the_frames_that_count(clip, runner):
    """Every frame is measured, in its place; a part of them makes the row."""
    poses, vertices = motion()
    vertices[:] += np.arange(FRAMES)[:, None, None] * np.array([0, 2.0, 0])
    counted = np.isin(np.arange(FRAMES), [1, 4])
    found = scores(clip, runner, poses, vertices, counted=counted)
    ours, truth = found.rows
    assert ours["frames"] == truth["frames"] == 2
    each = found.frames["ours"]
    np.testing.assert_allclose(each["vertex_mm"], 2 * np.arange(FRAMES), rtol=1e-5)
    assert ours["vertex_mm"] == pytest.approx((2 + 8) / 2, rel=1e-5)
    np.testing.assert_allclose(found.vertex_error["ours"], 5, rtol=1e-5)
    # Frame 1 has no jitter, frame 4 that of its neighbours, which do not count.
    assert truth["jitter_px"] == pytest.approx(2, rel=1e-4)
    table = video.frame_table(found)
    assert table["counted"] == counted.tolist()
    np.testing.assert_allclose(table["time_s"], np.arange(FRAMES) / 30)
    np.testing.assert_allclose(
        table["predictors"][0]["vertex_mm"], 2 * np.arange(FRAMES), rtol=1e-5
    )


def test_a_frame_without_an_answer_is_not_left_out(clip, runner):
    poses, vertices = motion()
    poses[5] = np.nan
    ours, truth = scores(clip, runner, poses, vertices).rows
    assert np.isnan(ours["pose_px"])
    assert ours["vertex_mm"] == 0
    assert truth["jitter_px"] == pytest.approx(2, rel=1e-4)


def test_a_still_video_has_one_texture(tmp_path, runner):
    poses, vertices = motion()
    poses[:, 4] = 0
    still = tiny_datasets.picture(np.random.default_rng(0), worlds.SIDE)
    same = [images.encode(still, "png")] * FRAMES
    clip = worlds.video(tmp_path, poses, vertices, image=same)
    system = worlds.video_oracle(pictures(clip), poses, vertices)
    ours, _ = video.evaluate_video({"ours": system}, clip, runner).rows
    assert ours["cftc_residual"] == 0


def test_without_truth_what_can_be_measured_is(tmp_path, runner):
    clip = tiny_datasets.video(tmp_path, cut=[0], duplicate=[], frames=4)
    poses, vertices = motion(4)
    found = scores(clip, runner, poses, vertices)
    (ours,) = found.rows
    assert "vertex_mm" not in ours
    assert ours["jitter_px"] == pytest.approx(2, rel=1e-4)
    assert ours["cftc_residual"] > 0


def test_ground_truth_of_another_mesh_is_refused(clip, runner):
    poses, vertices = motion()
    system = worlds.video_oracle(pictures(clip), poses, vertices)
    other = system.topology.__class__(
        system.topology.faces, system.topology.uvs, system.topology.uv_faces, 400
    )
    with pytest.raises(InputError, match=r"another mesh.*400 vertices, got 300"):
        video.evaluate_video({"a": system._replace(topology=other)}, clip, runner)
    with pytest.raises(InputError, match="different numbers of vertices"):
        video.evaluate_video(
            {"a": system, "b": system._replace(topology=other)}, clip, runner
        )
