# SPDX-License-Identifier: Apache-2.0
"""A user's mask, as Pillow writes it."""

import numpy as np
import pytest
from PIL import Image

from i2z_jax.errors import InputError
from i2z_jax.evaluate.texel_weights import read_texture_mask


def saved(folder, picture, mode=None):
    path = folder / "mask.png"
    image = Image.fromarray(picture)
    (image if mode is None else image.convert(mode)).save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_last_row_of_the_file_is_the_first_of_the_texture(tmp_path, mode):
    picture = np.zeros((8, 8), np.uint8)
    picture[:4] = 255
    picture[6, 1] = 51
    weight = read_texture_mask(saved(tmp_path, picture, mode), 8)
    np.testing.assert_allclose(weight, picture[::-1] / 255, atol=1e-6)


@pytest.mark.parametrize("size", [4, 16])
def test_another_size_is_resized(tmp_path, size):
    picture = np.zeros((8, 8), np.uint8)
    picture[:4] = 200
    weight = read_texture_mask(saved(tmp_path, picture), size)
    assert weight.shape == (size, size)
    np.testing.assert_allclose(weight[0], 0)
    np.testing.assert_allclose(weight[-1], 200 / 255, rtol=1e-6)
    assert weight.mean() == pytest.approx(picture.mean() / 255, rel=1e-5)


WHITE = np.full((8, 8), 255, np.uint8)


@pytest.mark.parametrize(
    ("picture", "mode", "message"),
    [
        (WHITE, "RGBA", "a grey or an RGB picture.*mode RGBA"),
        (WHITE, "P", "a grey or an RGB picture.*mode P"),
        (WHITE.astype(np.uint16), None, "not 8 bits a channel"),
        (WHITE[:6], None, "square"),
        (0 * WHITE, None, "no texel counts"),
    ],
    ids=["alpha", "palette", "16 bits", "not square", "black"],
)
def test_what_is_no_mask_is_refused(tmp_path, picture, mode, message):
    with pytest.raises(InputError, match=message):
        read_texture_mask(saved(tmp_path, picture, mode), 8)
