# SPDX-License-Identifier: Apache-2.0
"""Pictures: what each codec keeps, and what a damaged file says."""

import io
import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from i2z_jax.data import images
from i2z_jax.errors import InputError


def smooth(size=64):
    """A smooth colourful picture, which every codec can hold."""
    x = np.linspace(0, 255, size)
    planes = [*np.meshgrid(x, x), np.full((size, size), 90.0)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def test_codecs_keep_colours_and_png_every_bit():
    image = smooth()
    for codec, tolerance in (("png", 0), ("jpeg", 4), ("webp", 12)):
        data = images.encode(image, codec)
        for decoded in (images.decode(data), images.decode_strictly(data, codec)):
            assert np.abs(decoded.astype(int) - image).max() <= tolerance


def test_a_texture_is_turned_so_that_row_0_is_v_0():
    record = images.encode_texture(smooth(), "png")
    np.testing.assert_array_equal(images.decode_texture(record), smooth()[::-1])


@pytest.mark.parametrize("codec", ["png", "jpeg", "webp"])
def test_zeros_of_a_texture_are_what_was_not_seen(codec):
    """Of a lossy one alone, every block on the border of what was seen has others."""
    texture = np.maximum(smooth(), 1)
    seen = np.hypot(*np.mgrid[-32:32, -32:32]) < 29.5
    texture[~seen] = 0
    record = images.encode_texture(texture, codec)
    decoded = images.decode_texture(record)
    np.testing.assert_array_equal(decoded.any(-1), seen[::-1])
    if codec == "png":
        np.testing.assert_array_equal(decoded, texture[::-1])
    else:
        assert (images.decode(record["texture"]).any(-1) != seen).any()


def test_colours_go_on_over_the_border_of_what_was_seen():
    """The mean of what was seen within 16 texels, else that of all of it."""
    texture = np.zeros((80, 80, 3), np.uint8)
    texture[:10], texture[10:20] = (200, 90, 0), (0, 0, 60)
    record = images.encode_texture(texture, "jpeg")
    mask = cv2.imdecode(np.frombuffer(record["seen"], np.uint8), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(mask, 255 * texture.any(-1))
    drawn = images.decode(record["texture"]).astype(int)
    for row, colour in ((5, (200, 90, 0)), (35, (0, 0, 60)), (70, (100, 45, 30))):
        assert np.abs(drawn[row, 30] - colour).max() <= 3


def test_exif_orientation_is_not_applied():
    buffer = io.BytesIO()
    picture = Image.fromarray(smooth()[:32])
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(buffer, "JPEG", quality=95, exif=exif)
    assert images.decode(buffer.getvalue()).shape == (32, 64, 3)
    assert images.decode_strictly(buffer.getvalue(), "a").shape == (32, 64, 3)


def test_grey_and_palette_pictures_become_rgb(tmp_path):
    Image.fromarray(smooth()[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(smooth()).quantize(16).save(tmp_path / "palette.png")
    for name in ("grey.png", "palette.png"):
        assert images.read_picture(tmp_path / name).shape == (64, 64, 3)


def test_what_is_refused(tmp_path, rng):
    noise = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for codec in ("png", "jpeg", "webp"):
        data = images.encode(noise, codec)
        for cut in (0.1, 0.5, 0.95):
            with pytest.raises(InputError, match=r"x\.img: damaged"):
                images.decode_strictly(data[: int(cut * len(data))], "x.img")
    with pytest.raises(InputError, match=r"damaged or not a picture$"):
        images.decode_strictly(b"a page, not a picture", "x.img")
    with pytest.raises(InputError, match="empty file"):
        images.decode_strictly(b"", "x.img")
    deep = rng.integers(0, 4096, (8, 8, 4), dtype=np.uint16)
    for kind, name in itertools.product((0, [0, 1, 2], [0, 1, 2, 3]), ("png", "tif")):
        cv2.imwrite(tmp_path / f"deep.{name}", deep[..., kind])
        with pytest.raises(
            InputError, match=r"8 bits a channel \(got (PNG|TIFF) of mo"
        ):
            images.read_picture(tmp_path / f"deep.{name}")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(InputError, match="cannot read"):
        images.read_picture(tmp_path / "loop.png")
    huge = io.BytesIO()
    Image.new("1", (24000, 9000)).save(huge, "PNG")
    with pytest.raises(InputError, match=r"too large .*178 megapixels at most.*shrink"):
        images.decode_strictly(huge.getvalue(), "huge.png")
