# SPDX-License-Identifier: Apache-2.0
"""Render, unwrap, sample: a texture comes back, and gradients are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from i2z_jax.geometry.camera import project_weak
from i2z_jax.geometry.pyramid import halve, pyramid
from i2z_jax.geometry.render import render as render_eagerly
from i2z_jax.geometry.sampling import sample_bilinear
from i2z_jax.geometry.topology import Topology, texel_map
from i2z_jax.geometry.unwrap import unwrap as unwrap_eagerly
from tests.geometry.shapes import plane

render = jax.jit(render_eagerly, static_argnames=("topology", "height", "width"))
unwrap = jax.jit(unwrap_eagerly)


def mask_mesh(columns=24, rows=28):
    """A face-like relief, mm: a bulging sheet with a nose; UVs are the grid."""
    grid, faces = plane(columns, rows)
    uvs = (grid / [columns - 1, rows - 1] * 0.9 + 0.05).astype(np.float32)
    x, y = ((uvs - 0.5) * 2).T
    z = 70 * (1 - 0.8 * x**2 - 0.3 * y**2) + 30 * np.exp(-(x**2 + y**2) / 0.02)
    vertices = np.stack([90 * x, 110 * y, z], axis=1).astype(np.float32)
    return vertices, Topology(faces, uvs, faces, len(vertices))


def smooth_texture(rng, size):
    noise = gaussian_filter(rng.normal(size=(size, size, 3)), (size / 32, size / 32, 0))
    return (0.5 + 0.15 * noise / noise.std()).clip(0, 1).astype(np.float32)


def pixels(pose, vertices, height, width):
    points = project_weak(pose, vertices)
    size = jnp.array([[width, height]], jnp.float32)
    return jnp.concatenate([(points[:, :2] + 1) / 2 * size, points[:, 2:]], axis=-1)


POSES = {
    "frontal": [0.0075, 0, 0, 0, 0.02, 0.01],
    "turned": [0.0070, 0.2, -0.7, 0.1, -0.1, 0.05],
    "tilted": [0.0065, -0.4, 0.5, 0.6, 0.05, 0.0],
}


@pytest.mark.parametrize("pose", POSES.values(), ids=POSES.keys())
def test_unwrapping_a_rendering_returns_the_texture(rng, pose):
    vertices, topology = mask_mesh()
    texture = jnp.asarray(smooth_texture(rng, 256))
    pose = jnp.array(pose, jnp.float32)
    points = pixels(pose, jnp.asarray(vertices), 256, 256)
    image, mask = render(points, texture, topology, height=256, width=256)
    assert 0.15 < mask.mean() < 0.9
    back, weight = unwrap(
        image, jnp.asarray(vertices), pose, texel_map(topology, 256), topology.faces
    )
    weight = np.asarray(weight)
    assert weight.mean() > 0.3
    # The rim of the sheet mixes with the background behind it.
    inner = np.zeros_like(weight)
    inner[20:-20, 20:-20] = weight[20:-20, 20:-20]
    error = (np.asarray(back - texture) ** 2).mean(axis=-1)
    assert -10 * np.log10((error * inner).sum() / inner.sum()) >= 35


def test_frames_are_not_flipped():
    """v = 1 (the chin's opposite, y up) is at the top of the image, u to the right."""
    vertices, topology = mask_mesh()
    ramp = (np.arange(64, dtype=np.float32) + 0.5) / 64
    texture = np.stack([*np.meshgrid(ramp, ramp), np.zeros((64, 64), np.float32)], -1)
    pose = jnp.array(POSES["frontal"], jnp.float32)
    points = pixels(pose, jnp.asarray(vertices), 96, 96)
    image, mask = map(
        np.asarray, render(points, jnp.asarray(texture), topology, height=96, width=96)
    )
    rows, columns = np.nonzero(mask)
    top, bottom = rows.min() + 3, rows.max() - 3
    left, right = columns.min() + 3, columns.max() - 3
    assert image[top, 48, 1] > 0.85 > 0.15 > image[bottom, 48, 1]
    assert image[48, right, 0] > 0.85 > 0.15 > image[48, left, 0]
    assert (image[~mask] == 0).all()


def slope_of(function, at, direction):
    """Directional derivative by autodiff and by central differences in float32."""
    _, tangent = jax.jvp(function, (at,), (direction,))
    step = 3e-2 / float(jnp.abs(direction).max())
    ahead, behind = function(at + step * direction), function(at - step * direction)
    reverse = jnp.vdot(jax.grad(function)(at), direction)
    np.testing.assert_allclose(reverse, tangent, rtol=1e-3)
    return float(tangent), float((ahead - behind) / (2 * step))


@pytest.mark.parametrize("argument", ["vertices", "pose", "image"])
def test_gradient_by_finite_differences(rng, argument):
    vertices, topology = mask_mesh()
    texels = texel_map(topology, 48)
    size = 128
    y, x = np.mgrid[0:size, 0:size] / size
    image = np.stack([np.sin(5 * x + 2 * y), np.cos(4 * y - x), x * y], -1)
    values = {
        "image": jnp.asarray(image, jnp.float32),
        "vertices": jnp.asarray(vertices),
        "pose": jnp.array(POSES["turned"], jnp.float32),
    }
    target = jnp.asarray(rng.random((48, 48, 3)), jnp.float32)
    # Visibility is a constant to the gradient, so it is one to the differences.
    fixed = unwrap(**values, texel_map=texels, faces=topology.faces)[1]

    def loss(value):
        texture, _ = unwrap(
            **{**values, argument: value}, texel_map=texels, faces=topology.faces
        )
        return jnp.sum(fixed[..., None] * (texture - target) ** 2)

    scale = {"vertices": 1.0, "pose": jnp.array([0.02, 1, 1, 1, 1, 1]), "image": 1.0}
    # All of one sign: terms that cancel would leave float32's noise to compare.
    direction = jnp.asarray(
        rng.uniform(0.5, 1, size=values[argument].shape), jnp.float32
    )
    direction = direction * scale[argument]
    if argument == "pose":
        direction = direction * 0.1
        tangent, numeric = slope_of(
            lambda t: loss(values["pose"] + t[0] * direction),
            jnp.zeros(1),
            jnp.ones(1),
        )
    else:
        tangent, numeric = slope_of(loss, values[argument], direction)
    assert abs(tangent) > 1e-2
    np.testing.assert_allclose(tangent, numeric, rtol=0.05)


def ball_and_wall():
    """A disc of radius 30 mm, 60 mm in front of a 200 mm wall. Two charts."""
    grid, faces = plane(21, 21)
    wall = np.pad((grid / 20 - 0.5) * 200, [(0, 0), (0, 1)])
    u = grid / 20
    x, y = (u * 2 - 1).T
    # The square squeezed onto a disc; bulging, so that it has slope.
    x, y = x * np.sqrt(1 - y**2 / 2), y * np.sqrt(1 - x**2 / 2)
    height = 60 + 30 * np.sqrt(np.clip(1 - 0.98 * (x**2 + y**2), 0, 1))
    ball = np.stack([30 * x, 30 * y, height], axis=1)
    vertices = np.concatenate([wall, ball]).astype(np.float32)
    faces = np.concatenate([faces, faces + len(wall)])
    uvs = np.concatenate([u * [0.48, 1], u * [0.48, 1] + [0.52, 0]])
    topology = Topology(faces, uvs.astype(np.float32), faces, len(vertices))
    return vertices, topology


def holds_any(triangles, points):
    """Whether any of the 2D triangles holds the point."""
    found = np.zeros(points.shape[:-1], bool)
    for a, b, c in triangles:
        sides = [
            (q[0] - p[0]) * (points[..., 1] - p[1])
            - (q[1] - p[1]) * (points[..., 0] - p[0])
            for p, q in ((a, b), (b, c), (c, a))
        ]
        found |= np.all(np.stack(sides) >= 0, 0) | np.all(np.stack(sides) <= 0, 0)
    return found


@pytest.mark.parametrize("yaw", [0.0, 0.4])
def test_visibility_of_a_wall_behind_a_ball(yaw):
    vertices, topology = ball_and_wall()
    pose = jnp.array([0.008, 0, yaw, 0, 0, 0], jnp.float32)
    texels = texel_map(topology, 128, gutter=0)
    _, weight = unwrap(
        jnp.zeros((256, 256, 3)), jnp.asarray(vertices), pose, texels, topology.faces
    )
    weight = np.asarray(weight)
    corners = vertices[topology.faces[texels.triangle]]
    place = (corners * texels.barycentric[..., None]).sum(-2)
    on_wall = (texels.triangle >= 0) & (texels.triangle < len(topology.faces) // 2)
    # In the camera's axes of this yaw, by hand.
    projected = np.asarray(project_weak(pose, jnp.asarray(place.reshape(-1, 3))))
    flat = projected.reshape(128, 128, 3)[..., :2] / 0.008
    outline = np.asarray(project_weak(pose, jnp.asarray(vertices)))[:, :2] / 0.008
    ball = outline[topology.faces[len(topology.faces) // 2 :]]
    # A pixel is 1 mm: keep 2 mm from the outline of the ball.
    around = [(0, 0), (2, 0), (-2, 0), (0, 2), (0, -2)]
    behind = np.stack([holds_any(ball, flat + offset) for offset in around])
    hidden = on_wall & behind.all(axis=0)
    clear = on_wall & ~behind.any(axis=0)
    crop = np.abs(flat).max(axis=-1) * 0.008 < 0.99
    assert hidden.sum() > 50
    assert (weight[hidden] == 0).all()
    assert (weight[clear & crop] == 1).all()
    # The front of the ball sees the camera; nothing shadows itself.
    front = (texels.triangle >= len(topology.faces) // 2) & (place[..., 2] > 83)
    assert front.sum() > 100
    assert (weight[front] == 1).all()


def test_outside_the_crop_nothing_counts():
    vertices, topology = mask_mesh()
    pose = jnp.array([0.0075, 0, 0, 0, 1.0, 0.0], jnp.float32)
    texels = texel_map(topology, 64)
    _, weight = unwrap(
        jnp.ones((64, 64, 3)), jnp.asarray(vertices), pose, texels, topology.faces
    )
    weight = np.asarray(weight)
    # Shifted by half a width: what had x > 0 has left.
    assert weight[10:-10, 36:].max() == 0
    assert weight[10:-10, 14:28].mean() > 0.9


def test_the_back_of_the_head_is_not_seen():
    vertices, topology = mask_mesh()
    pose = jnp.array([0.0075, 0, np.pi, 0, 0, 0], jnp.float32)
    _, weight = unwrap(
        jnp.ones((64, 64, 3)),
        jnp.asarray(vertices),
        pose,
        texel_map(topology, 64),
        topology.faces,
    )
    assert weight.max() == 0


def test_bilinear_agrees_with_scipy(rng):
    image = rng.random((9, 13, 2)).astype(np.float32)
    points = rng.uniform([-3, -3], [16, 12], (200, 2)).astype(np.float32)
    expected = np.stack(
        [
            map_coordinates(
                image[..., c], [points[:, 1] - 0.5, points[:, 0] - 0.5], order=1,
                mode="nearest",
            )
            for c in range(2)
        ],
        axis=-1,
    )  # fmt: skip
    sampled = sample_bilinear(jnp.asarray(image), jnp.asarray(points))
    np.testing.assert_allclose(sampled, expected, atol=1e-5)


def test_bilinear_of_a_single_pixel():
    image = jnp.full((1, 1, 3), 0.25)
    sampled = sample_bilinear(image, jnp.array([[0.5, 0.5], [7.0, -2.0]]))
    np.testing.assert_allclose(sampled, 0.25)


def test_halving_keeps_means_and_does_not_shift():
    y, x = np.mgrid[0:16, 0:24] + 0.5
    ramp = jnp.asarray(np.stack([x, y], -1), jnp.float32)
    half = np.asarray(halve(ramp))
    y, x = (np.mgrid[0:8, 0:12] + 0.5) * 2
    np.testing.assert_allclose(half[1:-1, 1:-1], np.stack([x, y], -1)[1:-1, 1:-1])
    # The finest pattern an image can hold is gone, not turned into another.
    checker = jnp.asarray((np.indices((16, 24)).sum(0) % 2)[..., None], jnp.float32)
    np.testing.assert_allclose(halve(checker)[1:-1, 1:-1], 0.5, atol=1e-6)
    with pytest.raises(ValueError, match="odd size"):
        halve(jnp.zeros((5, 4, 3)))


def test_pyramid_does_not_mix_in_what_has_no_weight(rng):
    image = jnp.where(jnp.arange(32)[None, :, None] < 13, 0.7, jnp.asarray(99.0))
    image = jnp.broadcast_to(image, (2, 32, 32, 3))
    weight = jnp.broadcast_to(
        (jnp.arange(32) < 13).astype(jnp.float32)[None, None, :], (2, 32, 32)
    )
    levels = pyramid(image, weight, 4)
    assert [level.shape[1] for level, _ in levels] == [32, 16, 8, 4]
    for level, mass in levels[1:]:
        seen = np.asarray(mass) > 0
        np.testing.assert_allclose(np.asarray(level)[seen], 0.7, rtol=1e-5)
        assert (np.asarray(level)[~seen] == 0).all()
