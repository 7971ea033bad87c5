# SPDX-License-Identifier: Apache-2.0
"""Video of every colour coding, coded here from the scene by the ITU's formulas.

H.273 (tags, YCbCr, quantisation), BT.2100 (HLG, PQ), BT.2087 (BT.709 -> BT.2020
primaries), CSS Color 4 (the same to Display P3), BT.2408 (levels of diffuse white and
of a grey card) and BT.709.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from i2z_jax.data.check import check
from i2z_jax.data.video import read_frames
from i2z_jax.errors import InputError

SIDE = 32
# ITU-T H.273: transfer characteristics, and what else says how colours are coded.
HLG, PQ, BT2020_SDR, SRGB = 18, 16, 14, 13
LIMITED, FULL = 1, 2
BT709, UNSPECIFIED, BT601_625, BT601_525, BT2020, P3 = 1, 2, 5, 6, 9, 12
# Weights of red and blue in luma.
LUMA = {
    BT709: (0.2126, 0.0722),
    BT601_625: (0.299, 0.114),
    BT601_525: (0.299, 0.114),
    BT2020: (0.2627, 0.0593),
}

# Of diffuse white, BT.709 primaries: below what is rolled off.
SCENE = np.array(
    [
        [0.18, 0.18, 0.18],
        [0.5, 0.0, 0.0],
        [0.0, 0.4, 0.0],
        [0.0, 0.0, 0.5],
        [0.45, 0.28, 0.2],
        [0.12, 0.06, 0.04],
        [0.01, 0.01, 0.01],
    ]
)
FROM_BT709 = {
    BT709: np.eye(3),
    BT2020: np.array(
        [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    ),
    P3: np.array(
        [[0.8225, 0.1775, 0.0000], [0.0332, 0.9668, 0.0000], [0.0171, 0.0724, 0.9105]]
    ),
}


def hlg_from_light(light: np.ndarray, primaries: int) -> np.ndarray:
    """BT.2100's OETF; 1 is diffuse white, whose signal is 0.75."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    light = light @ FROM_BT709[primaries].T * (np.exp((0.75 - c) / a) + b) / 12
    log = a * np.log(np.maximum(12 * light - b, 1e-9)) + c
    return np.where(light <= 1 / 12, np.sqrt(3 * light), log)


def pq_from_light(light: np.ndarray, primaries: int) -> np.ndarray:
    """BT.2100's OOTF of HLG for a display of 1000 cd/m2, then the inverse PQ EOTF."""
    peak = light * 0.203 ** (1 / 1.2)
    luminance = peak @ [0.2126, 0.7152, 0.0722]
    nits = 1000 * luminance[:, None] ** 0.2 * peak @ FROM_BT709[primaries].T
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = (nits / 10000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def bt709_from_light(light: np.ndarray, primaries: int = BT709) -> np.ndarray:
    light = light @ FROM_BT709[primaries].T
    return np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)


def write_patches(
    path: Path,
    signals: np.ndarray,
    transfer: int,
    *,
    span: int = LIMITED,
    primaries: int = BT2020,
    matrix: int = BT2020,
    tag: int | None = None,
    bits: int = 10,
    size: tuple[int, int] | None = None,
) -> Path:
    """HEVC without loss: patches side by side of R'G'B' (n, 3), coded by `matrix`; the
    file names `tag` if that is another. Width and height are `size`."""
    red_share, blue_share = LUMA[matrix]
    luma = signals @ [red_share, 1 - red_share - blue_share, blue_share]
    blue = (signals[:, 2] - luma) / (2 - 2 * blue_share)
    red = (signals[:, 0] - luma) / (2 - 2 * red_share)
    scale, most = 1 << (bits - 8), (1 << bits) - 1
    black, y, c = (16 * scale, 219 * scale, 224 * scale)
    if span == FULL:
        black, y, c = 0, most, most
    planes = (black + y * luma, 128 * scale + c * blue, 128 * scale + c * red)
    form, kind = ("yuv420p10le", "<u2") if bits == 10 else ("yuv420p", "u1")
    width, height = size or (SIDE * len(signals), SIDE)
    frame = av.VideoFrame(width, height, form)
    for plane, codes in zip(frame.planes, planes, strict=True):
        rows = np.zeros(
            (plane.height, plane.line_size // np.dtype(kind).itemsize), kind
        )
        patch = np.arange(plane.width) * len(signals) // plane.width
        rows[:, : plane.width] = codes.round().clip(0, most)[patch]
        plane.update(rows.tobytes())
    with av.open(str(path), "w") as container:
        options = {"x265-params": "lossless=1:bframes=0:log-level=none"}
        stream = container.add_stream("libx265", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, form
        for coded in (stream.codec_context, frame):
            coded.colorspace = matrix if tag is None else tag
            coded.color_primaries = primaries
            coded.color_trc, coded.color_range = transfer, span
        for number in range(2):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_patches(path: Path, count: int = len(SCENE)) -> np.ndarray:
    """Levels of the patches' centres in the second frame, n x 3."""
    *_, frame = read_frames(path)
    height, width = frame.image.shape[:2]
    centres = (np.arange(count) + 0.5) * width / count
    return frame.image[height // 2, centres.astype(int)].astype(float)


# Skin, primaries and greys, as signals. Another matrix is 15 levels and more off, and
# libswscale's fast path up to three.
SIGNALS = np.concatenate([[[0.78, 0.47, 0.35]], 0.9 * np.eye(3), 0.2 + 0.6 * SCENE[4:]])


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("span", [LIMITED, FULL], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [BT709, BT601_625, BT601_525, BT2020])
def test_the_matrix_and_the_range_are_those_that_the_file_names(
    tmp_path, matrix, span, bits
):
    path = tmp_path / "clip.mov"
    how = {"span": span, "bits": bits, "primaries": BT709}
    write_patches(path, SIGNALS, BT709, matrix=matrix, **how)
    np.testing.assert_allclose(read_patches(path), 255 * SIGNALS, atol=3)


@pytest.mark.parametrize(
    ("size", "matrix"),
    [
        ((1278, 576), BT601_525),
        ((1280, 64), BT709),
        ((64, 578), BT709),
        ((720, 1280), BT709),
    ],
    ids=str,
)
def test_an_untagged_matrix_is_that_of_the_size_as_in_players(tmp_path, size, matrix):
    path = tmp_path / "clip.mov"
    silent = {"primaries": UNSPECIFIED, "tag": UNSPECIFIED, "bits": 8, "size": size}
    write_patches(path, SIGNALS, UNSPECIFIED, matrix=matrix, **silent)
    np.testing.assert_allclose(read_patches(path), 255 * SIGNALS, atol=3)


@pytest.mark.parametrize("span", [LIMITED, FULL], ids=["limited", "full"])
@pytest.mark.parametrize("primaries", [BT2020, P3], ids=["BT.2020", "P3"])
@pytest.mark.parametrize(
    ("transfer", "from_light"),
    [(HLG, hlg_from_light), (PQ, pq_from_light)],
    ids=["HLG", "PQ"],
)
def test_colours_of_hdr_come_back_as_those_of_the_scene(
    tmp_path, transfer, from_light, primaries, span
):
    path, signals = tmp_path / "phone.mov", from_light(SCENE, primaries)
    write_patches(path, signals, transfer, primaries=primaries, span=span)
    expected = 255 * bt709_from_light(SCENE)
    np.testing.assert_allclose(read_patches(path), expected, atol=2)


@pytest.mark.parametrize(
    ("matrix", "primaries", "transfer", "bits"),
    [(BT2020, BT2020, BT2020_SDR, 10), (BT709, P3, BT709, 8), (BT709, P3, SRGB, 8)],
    ids=["BT.2020", "P3", "P3, sRGB"],
)
def test_wide_colours_of_sdr_come_back_as_those_of_the_scene(
    tmp_path, matrix, primaries, transfer, bits
):
    path, signals = tmp_path / "phone.mov", bt709_from_light(SCENE, primaries)
    how = {"matrix": matrix, "primaries": primaries, "bits": bits}
    write_patches(path, signals, transfer, **how)
    # Rounded to 8 bits in the file, and again when it is read.
    np.testing.assert_allclose(
        read_patches(path), 255 * bt709_from_light(SCENE), atol=3 if bits == 8 else 2
    )
    wide = "BT.2020" if primaries == BT2020 else "Display P3"
    said = check(path).facts["phone.mov"]["colours"]
    assert said == f"SDR ({wide}), converted to BT.709"


@pytest.mark.parametrize(
    ("transfer", "silence"),
    [
        (HLG, {"primaries": UNSPECIFIED}),
        (PQ, {"primaries": UNSPECIFIED, "tag": UNSPECIFIED}),
        (UNSPECIFIED, {"primaries": UNSPECIFIED}),
        (UNSPECIFIED, {"tag": UNSPECIFIED}),
    ],
    ids=str,
)
def test_one_tag_of_bt2020_stands_for_the_others(tmp_path, transfer, silence):
    signals = 0.2 + 0.6 * SCENE
    named, silent = (
        read_patches(write_patches(tmp_path / f"{n}.mov", signals, transfer, **tags))
        for n, tags in enumerate(({}, silence))
    )
    np.testing.assert_array_equal(silent, named)


@pytest.mark.parametrize(
    ("transfer", "white"), [(HLG, 0.75), (PQ, 0.58)], ids=["HLG", "PQ"]
)
def test_levels_of_grey_card_and_diffuse_white(tmp_path, transfer, white):
    signals = np.array([[0.0], [0.38], [white]]).repeat(3, axis=1)
    path = write_patches(tmp_path / "phone.mov", signals, transfer)
    black, card, diffuse = read_patches(path, 3)
    np.testing.assert_allclose(black, 0, atol=1)
    np.testing.assert_allclose(card, 255 * 0.409, atol=2)
    # 1 is rolled off to 0.6 + 0.4 (1 - 1 / e).
    rolled_off = bt709_from_light(np.full(3, 0.853))
    np.testing.assert_allclose(diffuse, 255 * rolled_off, atol=2)


def test_highlights_are_rolled_off_and_not_cut(tmp_path):
    signals = np.linspace(0.5, 1.0, 11)[:, None].repeat(3, axis=1)
    path = write_patches(tmp_path / "phone.mov", signals, HLG)
    grey = read_patches(path, 11)[:, 0]
    steps = np.diff(grey)
    assert (steps[:7] > 3).all()  # to 85 %, 1.7 times diffuse white
    assert (steps >= 0).all()
    assert (np.diff(steps)[2:] < 0.5).all()  # no kink
    assert grey[-1] >= 254


def test_the_validator_calls_ten_bits_alone_sdr(tmp_path):
    path = tmp_path / "camera.mov"
    write_patches(path, SIGNALS, BT709, matrix=BT709, primaries=BT709)
    assert check(path).facts["camera.mov"]["colours"] == "SDR"


@pytest.mark.parametrize("transfer", [HLG, PQ], ids=["HLG", "PQ"])
def test_the_validator_says_that_hdr_is_converted(tmp_path, transfer):
    path = write_patches(tmp_path / "phone.mov", np.full((3, 3), 0.4), transfer)
    said = check(path).facts["phone.mov"]["colours"]
    assert said == f"HDR ({'HLG' if transfer == HLG else 'PQ'}), converted to BT.709"


@pytest.mark.parametrize("tag", [8, 10, 14], ids=["YCgCo", "BT.2020 CL", "ICtCp"])
def test_a_matrix_that_is_not_read_is_named(tmp_path, tag):
    path = write_patches(tmp_path / "phone.mov", SIGNALS, PQ, tag=tag)
    with pytest.raises(
        InputError, match=f"matrix that is not read.*number {tag}"
    ) as it:
        list(read_frames(path))
    assert "phone.mov" in str(it.value)
