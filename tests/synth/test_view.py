# SPDX-License-Identifier: Apache-2.0
"""Pictures of a mesh: what several rays a pixel change, and how large they may be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.commands.synth_options import LANDMARK_SIZES, VIDEO_SIZES
from i2z_jax.geometry.mesh_arrays import mesh_arrays
from i2z_jax.synth.head import ProceduralHead
from i2z_jax.synth.portrait import SAMPLES
from i2z_jax.synth.video import phone
from i2z_jax.synth.view import Cameras, photograph
from tests.synth.pattern_head import TEXTURE, PatternHead


def test_rays_of_a_pixel_are_pixels_of_a_larger_picture():
    head = PatternHead()
    mesh = mesh_arrays(head.topology, TEXTURE)
    vertices = head.vertices(jnp.zeros(3))
    ramp = np.linspace(0, 1, TEXTURE, dtype=np.float32)
    texture = jnp.asarray(
        np.stack([*np.meshgrid(ramp, ramp), np.outer(ramp, ramp)], -1)
    )[None]
    lens = phone(np.eye(3, 4), width=60, height=80)
    place = jnp.asarray(lens.camera_from_head, jnp.float32)[None]

    def picture(scale: int, samples: int):
        zoomed = lens.intrinsics * np.array([[scale], [scale], [1.0]])
        cameras = Cameras(jnp.asarray(zoomed, jnp.float32)[None], place)
        size = {"width": 60 * scale, "height": 80 * scale}
        return photograph(mesh, vertices, texture, cameras, **size, samples=samples)

    small, large = picture(1, 2), picture(2, 1)
    for ours, theirs in ((small.image, large.image), (small.mask, large.mask)):
        mean = np.reshape(theirs[0], (80, 2, 60, 2, -1)).mean(axis=(1, 3))
        np.testing.assert_allclose(
            np.reshape(ours[0], mean.shape), mean, atol=1e-5, rtol=0
        )
    assert 0 < small.mask.mean() < 1


@pytest.mark.parametrize(
    "sizes", [VIDEO_SIZES["paper"], LANDMARK_SIZES["paper"]], ids=["video", "landmarks"]
)
def test_the_largest_pictures_can_be_drawn(sizes):
    """Traced only: the rasteriser counts triangles x pixels before it draws."""
    head = ProceduralHead(size=sizes.vertices)
    texture = jax.ShapeDtypeStruct((1, TEXTURE, TEXTURE, 3), jnp.float32)
    lens = phone(np.eye(3, 4), width=sizes.width, height=sizes.height)
    views = jax.eval_shape(
        lambda *of: photograph(
            *of, height=sizes.height, width=sizes.width, samples=SAMPLES
        ),
        mesh_arrays(head.topology, TEXTURE),
        jnp.asarray(head.neutral, jnp.float32),
        texture,
        Cameras(*(jnp.asarray(x, jnp.float32)[None] for x in lens)),
    )
    assert views.image.shape == (1, sizes.height, sizes.width, 3)
