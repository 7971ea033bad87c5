# SPDX-License-Identifier: Apache-2.0
"""The relative scenarios, with networks whose answer to each is known."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.config import I2ZConfig
from i2z_jax.data.perturb import perturb
from i2z_jax.data.pipeline import Views
from i2z_jax.errors import InputError
from i2z_jax.evaluate import ablation, scenarios
from i2z_jax.evaluate.tables import Report, show
from i2z_jax.geometry.crop import invert, transform_pose
from i2z_jax.models.features import StreamMaps
from i2z_jax.models.i2znet import I2ZOutput
from tests.evaluate import worlds
from tests.models.weights import random_module


@jax.tree_util.register_dataclass
@dataclass
class BrightnessNet:
    """z is the mean brightness, H is the same for everybody: blind to what moves."""

    pose: Any

    trains_streams = True  # never serves another one's streams
    levels = 1
    hourglass = None

    def streams(self, image):
        return StreamMaps((image,), None)

    def regress(self, maps):
        (image,) = maps.vgg
        z = image.mean((1, 2, 3))[:, None]
        return I2ZOutput(z, jnp.tile(self.pose[None], (len(z), 1)), None)


@jax.tree_util.register_dataclass
@dataclass
class BrightnessDAM:
    """The mesh lies z mm to the right, the texture is z everywhere."""

    mesh: Any

    def decode_vertices(self, z):
        right = jnp.asarray([1.0, 0.0, 0.0])
        return self.mesh[None] + z[:, :1, None] * right[None, None]

    def decode_texture(self, z, view):
        size = worlds.TEXTURE
        return jnp.tile(z[:, :1, None, None], (1, size, size, 3))


POSE = np.float32([0.008, 0, 0, 0, 0.1, 0])


@pytest.fixture(scope="module")
def system():
    net_card, dam_card = worlds.cards(300)
    net = BrightnessNet(jnp.asarray(POSE))
    dam = BrightnessDAM(jnp.float32(worlds.egg()))
    return worlds.System(net, dam, worlds.topology(), net_card, dam_card)


def test_scores_are_what_the_picture_changed_by(built, runner, system):
    (scores,) = ablation.evaluate_ablation([system], built, "test", runner, views=0)
    source = Views(built, "test")
    examples = [source[i] for i in range(len(source))]
    before = np.array([e["image"].mean() / 255 for e in examples])

    # View: against the central camera, which is 400001 between the other two.
    by_frame = before.reshape(3, 3)
    others = np.abs(by_frame[:, [0, 2]] - by_frame[:, [1]]).mean()
    assert scores["view"].geometry_mm == pytest.approx(others, rel=1e-3)
    assert scores["view"].pose_px is None
    assert scores["view"].texture is None

    for scenario in ("color", "light", "jitter"):
        after = [perturb(scenario, e["image"], i).image for i, e in enumerate(examples)]
        change = np.abs(np.array([a.mean() for a in after]) / 255 - before).mean()
        assert scores[scenario].geometry_mm == pytest.approx(change, rel=1e-3)
        assert scores[scenario].texture == pytest.approx(change, rel=1e-3)
    assert scores["color"].pose_px == 0
    # White dots on a dark background: brighter.
    assert scores["background"].geometry_mm > 0.01


def test_jitter_pose_is_compared_in_the_crop_before(built, runner, system):
    """The network says the same H for the moved crop: wrong by the movement."""
    (scores,) = ablation.evaluate_ablation([system], built, "test", runner, views=0)
    source = Views(built, "test")
    expected = []
    for i in range(len(source)):
        after = perturb("jitter", source[i]["image"], i)
        back = transform_pose(np.float64(POSE), invert(after.unit_similarity))
        expected.append(_pixels(back, POSE))
    assert scores["jitter"].pose_px == pytest.approx(np.mean(expected), rel=1e-3)


def _pixels(pose, truth) -> float:
    """Mean over the mesh of the distance in a 256 px crop, written out."""
    points = []
    for f, rx, ry, rz, tx, ty in (np.float64(pose), np.float64(truth)):
        assert (rx, ry) == (0, 0)
        c, s = np.cos(rz), np.sin(rz)
        flat = worlds.egg()[:, :2] * [1, -1] @ np.array([[c, s], [-s, c]])
        points.append(f * flat + [tx, ty])
    return float(np.linalg.norm(points[0] - points[1], axis=1).mean() * 128)


def test_frames_are_spread_and_whole(built):
    frames = scenarios.chosen_frames(Views(built, "train"), 9)
    assert [len(frame.rows) for frame in frames] == [3, 3, 3]
    assert [frame.rows[0] // 3 for frame in frames] == [0, 2, 4]
    assert all(frame.central == 1 for frame in frames)
    assert len(scenarios.chosen_frames(Views(built, "train"), 0)) == 6


def random_system(variant, vgg=None, hourglass=None):
    net_card, dam_card = worlds.cards(300, variant)
    net = random_module("i2znet", net_card.config, seed=len(variant))
    for name, stream in (("vgg", vgg), ("hourglass", hourglass)):
        if stream is not None and getattr(net, name) is not None:
            setattr(net, name, stream)
    return worlds.System(net, None, worlds.topology(), net_card, dam_card)


def test_variants_with_one_vgg_share_its_streams():
    full = random_system("vgg+skip+key")
    same = {"vgg": full.net.vgg, "hourglass": full.net.hourglass}
    systems = [
        random_system("vgg-scratch"),
        random_system("vgg", **same),
        random_system("vgg+skip"),  # another VGG
        full,
    ]
    groups = ablation.stream_groups(systems)
    assert groups == [0, 3, 2, 3]
    nets = [system.net for system in systems]
    image = jnp.asarray(np.random.default_rng(0).random((2, 64, 64, 3), np.float32))
    pair = [nets[1], nets[3]]
    shared = jax.jit(lambda pair, image: ablation.encode(pair, [1, 1], image))
    alone = jax.jit(lambda pair, image: [net(image) for net in pair])
    for ours, theirs in zip(shared(pair, image), alone(pair, image), strict=True):
        np.testing.assert_allclose(ours.z, theirs.z, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ours.pose, theirs.pose, rtol=1e-5, atol=1e-5)


def test_table_has_the_published_layout(capsys):
    nothing = dict.fromkeys(scenarios.SCENARIOS, scenarios.Score(1.0, None, 0.5))
    published = [I2ZConfig(variant=variant) for variant in scenarios.VARIANTS]
    networks = [*published, I2ZConfig(shape_size=64)]
    rows = ablation.table_rows(networks, [nothing] * 5)
    names = [row["variant"] for row in rows if row["whose"] == "ours"]
    assert names == [*scenarios.VARIANTS, "vgg+skip+key + shape"]
    show(
        Report("evaluate ablation", {}, rows, [scenarios.COMPARABLE]), ablation.COLUMNS
    )
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    header = next(line for line in lines if "View" in line)
    order = [header.index(s.title()) for s in scenarios.SCENARIOS]
    assert order == sorted(order)
    published = [line for line in lines if "published  " in line]
    assert len(published) == 4
    # Two rows of the supplement, digit for digit.
    assert "0.607 / - / -   1.485 / 17.480 / 0.021" in published[0]
    assert "0.255 / - / -" in published[3]
    assert "0.417 / 8.172 / 0.006" in published[3]
    assert "ours" in lines[lines.index(published[0]) - 1]
    assert "Comparable with the published rows" in printed


def test_crops_of_different_sizes_are_refused(built, runner, system):
    config = replace(system.net_card.config, image_size=128)
    other = system._replace(net_card=replace(system.net_card, config=config))
    with pytest.raises(InputError, match=r"different sizes.*got 64 px and 128 px"):
        ablation.evaluate_ablation([system, other], built, "test", runner)
