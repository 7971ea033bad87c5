# SPDX-License-Identifier: Apache-2.0
"""Errors on a capture, with networks whose errors are known beforehand."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.data.capture_source import capture_nearness
from i2z_jax.data.pipeline import Views
from i2z_jax.errors import InputError
from i2z_jax.evaluate import capture
from i2z_jax.evaluate.screen import draw_faces
from i2z_jax.geometry.mesh_arrays import mesh_arrays
from i2z_jax.geometry.topology import Topology
from tests.evaluate import worlds


def evaluated(system, built, runner, mask=None):
    z = np.zeros((9, 2), np.float32)
    z[:, 0] = np.arange(9)
    return capture.evaluate_capture(system, built, "test", z, runner, mask)


def row(built, runner, predictor="network", **change):
    scores = evaluated(worlds.oracle(built, "test", **change), built, runner)
    (found,) = (r for r in scores.rows if r["predictor"] == predictor)
    return found, scores


def test_a_perfect_predictor_scores_zero(built, runner):
    errors, scores = row(built, runner)
    assert errors["views"] == 9
    for name in ("vertex_mm", "eyes_mm", "mouth_mm", "pose_px", "pose_deg"):
        assert errors[name] == 0, name
    assert errors["z_distance"] == 0
    assert errors["texture_difference"] < 1e-6
    assert errors["texture_psnr_db"] > 100
    assert errors["multiface_vertex_mse"] == 0
    assert errors["multiface_texture_mse"] < 1e-6
    assert not scores.vertex_error.any()


def test_texels_that_the_capture_has_not_seen_do_not_count(built, runner, monkeypatch):
    class HalfSeen(Views):
        def __getitem__(self, index):
            view = super().__getitem__(index)
            texture = view["texture"].copy()
            texture[: len(texture) // 2] = 0
            return {**view, "texture": texture}

    monkeypatch.setattr(capture, "Views", HalfSeen)
    errors, _ = row(built, runner)
    assert errors["texture_difference"] < 1e-6
    assert errors["multiface_texture_mse"] < 1e-6


def test_known_errors_are_found(built, runner):
    # 1 mm of mesh, 3 and 4 px of a 256 px crop, 0.1 of colour.
    shift = (0, 0, 0, 0, 3 / 128, 4 / 128)
    errors, scores = row(built, runner, pose=shift, vertices=(0.6, 0, 0.8), texture=0.1)
    for name in ("vertex_mm", "eyes_mm", "mouth_mm"):
        assert errors[name] == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(scores.vertex_error, 1, atol=1e-4)
    assert errors["pose_px"] == pytest.approx(5, abs=1e-3)
    assert errors["pose_deg"] == 0
    assert errors["z_distance"] == 0
    # Less than 0.1 where white is white already.
    assert 0.08 < errors["texture_difference"] <= 0.1 + 1e-6
    assert 20 <= errors["texture_psnr_db"] < 22
    assert errors["multiface_vertex_mse"] == pytest.approx(1 / 3, abs=1e-4)


@pytest.fixture
def drawn(built, monkeypatch):
    """The capture, with pictures of its true faces, and nothing else in them."""
    mesh, nearness = mesh_arrays(worlds.topology(), 32), capture_nearness(built)

    class DrawnViews(Views):
        hidden = 0  # rows of texels that lie beyond the edge of the picture

        def __getitem__(self, index):
            view = super().__getitem__(index)
            if "texture" not in view:
                return view
            texture = view["texture"] / np.float32(255)
            texture[: self.hidden] = 0
            view["texture"][: self.hidden + 2 * (self.hidden > 0)] = 0
            face = (view["pose"], view["vertices"], texture)
            face = (jnp.asarray(x)[None] for x in face)
            image = draw_faces(*face, mesh, jnp.float32(nearness), size=64)
            image = np.rint(255 * np.asarray(image[0])).astype(np.uint8)
            return {**view, "image": image}

    monkeypatch.setattr(capture, "Views", DrawnViews)
    monkeypatch.setattr(worlds, "Views", DrawnViews)
    return built


def test_on_the_screen_a_face_must_be_in_its_place(drawn, runner):
    there, _ = row(drawn, runner)
    assert there["screen_psnr_db"] > 55  # pictures of 8 bits
    off, _ = row(drawn, runner, pose=(0, 0, 0, 0, 2 / 64, 0))
    assert off["screen_psnr_db"] < 20
    assert off["texture_psnr_db"] > 100
    darker, _ = row(drawn, runner, texture=-0.1)
    assert 19.5 < darker["screen_psnr_db"] < 22


def test_nothing_counts_beyond_the_edge_of_the_picture(drawn, runner, monkeypatch):
    system = worlds.oracle(drawn, "test")
    monkeypatch.setattr(capture.Views, "hidden", 12)
    scores = evaluated(system, drawn, runner)
    assert scores.rows[0]["screen_psnr_db"] > 55


def test_texels_count_as_the_mask_says_and_regions_have_their_own(drawn, runner):
    # The upper half of the face, v > 0.5, is wrong; a rim in the middle is left alone.
    system = worlds.oracle(drawn, "test")
    wrong = system.dam.textures.at[..., 18:, :, :].set(0)
    system = system._replace(dam=replace(system.dam, textures=wrong))
    mask = np.zeros((32, 32), np.float32)
    mask[:16] = 0.5
    half, *_ = evaluated(system, drawn, runner, mask).rows
    whole, *_ = evaluated(system, drawn, runner).rows
    assert half["texture_psnr_db"] > 100
    assert half["screen_psnr_db"] > 55
    assert half["texture_difference"] < 1e-6
    assert np.isnan(half["eyes_texture_psnr_db"])  # none of it counts
    assert half["multiface_texture_mse"] == whole["multiface_texture_mse"] > 1
    assert whole["mouth_texture_psnr_db"] > 100
    for name in ("eyes_texture_psnr_db", "texture_psnr_db", "screen_psnr_db"):
        assert whole[name] < 20, name
    assert whole["eyes_texture_psnr_db"] < whole["texture_psnr_db"]


def test_a_view_without_an_answer_is_not_left_out(built, runner):
    system = worlds.oracle(built, "test")
    net = replace(system.net, pose=system.net.pose.at[4].set(np.nan))
    scores = capture.evaluate_capture(
        system._replace(net=net), built, "test", np.zeros((9, 2), np.float32), runner
    )
    network, mean, _ = scores.rows
    assert np.isnan(network["pose_px"])
    assert network["vertex_mm"] == 0
    assert np.isfinite(mean["pose_px"])


def test_a_view_that_shows_no_texture_has_none_to_be_wrong():
    errors = {
        "texture_squared": np.array([np.nan, 0.01]),
        "pose_px": np.array([1.0, 3.0]),
    }
    row = capture._means(errors, {"texture_squared": np.array([False, True])})
    assert row == {"texture_psnr_db": pytest.approx(20), "pose_px": 2}


def test_a_rolled_head_is_as_many_degrees(built, runner):
    errors, _ = row(built, runner, pose=(0, 0, 0, np.radians(10), 0, 0))
    assert errors["pose_deg"] == pytest.approx(10, abs=1e-3)


def test_the_mean_face_is_the_mean(built, runner):
    errors, _ = row(built, runner, "mean face")
    source = Views(built, "test")
    meshes = np.stack([source[i]["vertices"] for i in range(len(source))])
    spread = np.linalg.norm(meshes - meshes.mean(0), axis=-1).mean()
    assert errors["vertex_mm"] == pytest.approx(spread, rel=1e-5)


def test_what_was_held_out_is_measured(built):
    assert capture.held_out_splits(built) == ["test"]


def test_another_topology_is_refused(built):
    system = worlds.oracle(built, "test")
    topology = system.topology
    turned = Topology(
        np.roll(topology.faces, 1, axis=1),
        topology.uvs,
        topology.uv_faces,
        topology.vertex_count,
    )
    with pytest.raises(InputError, match="triangles are not the checkpoint's"):
        capture.capture_labels(system._replace(topology=turned), built)
    more = Topology(topology.faces, topology.uvs, topology.uv_faces, 301)
    with pytest.raises(InputError, match="expected 301 vertices, got 300"):
        capture.capture_labels(system._replace(topology=more), built)


def test_an_absent_split_is_named(built, runner):
    system = worlds.oracle(built, "test")
    z = np.zeros((9, 2), np.float32)
    with pytest.raises(InputError, match=r"no such split.*got elsewhere"):
        capture.evaluate_capture(system, built, "elsewhere", z, runner)


def test_a_dataset_without_textures_has_no_colours(built, runner, monkeypatch):
    monkeypatch.setattr(capture, "has_view_textures", lambda directory: False)
    errors, _ = row(built, runner)
    assert errors["vertex_mm"] == 0
    assert not [name for name in errors if "texture" in name or "screen" in name]
    system = worlds.oracle(built, "test")
    with pytest.raises(InputError, match="no textures of views"):
        evaluated(system, built, runner, np.ones((32, 32), np.float32))
