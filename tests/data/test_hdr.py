# SPDX-License-Identifier: Apache-2.0
"""HDR video as phones record it, coded here from the scene by the ITU's formulas.

BT.2100 (HLG, PQ, YCbCr and its 10 bits), BT.2087 (BT.709 -> BT.2020 primaries), BT.2408
(levels of diffuse white and of a grey card) and BT.709.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from i2z_jax.data.check import check
from i2z_jax.data.video import read_frames

SIDE = 32
# ITU-T H.273: transfer characteristics, and what else says how colours are coded.
HLG, PQ, BT709, BT2020_SDR = 18, 16, 1, 14
LIMITED, FULL = 1, 2
BT2020, UNSPECIFIED = 9, 2  # primaries

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
BT2020_FROM_BT709 = np.array(
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
)


def hlg_from_light(light: np.ndarray) -> np.ndarray:
    """BT.2100's OETF; 1 is diffuse white, whose signal is 0.75."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    light = light * (np.exp((0.75 - c) / a) + b) / 12
    log = a * np.log(np.maximum(12 * light - b, 1e-9)) + c
    return np.where(light <= 1 / 12, np.sqrt(3 * light), log)


def pq_from_light(light: np.ndarray) -> np.ndarray:
    """BT.2100's OOTF of HLG for a display of 1000 cd/m2, then the inverse PQ EOTF."""
    peak = light * 0.203 ** (1 / 1.2)
    luminance = peak @ [0.2627, 0.6780, 0.0593]
    nits = 1000 * luminance[:, None] ** 0.2 * peak
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = (nits / 10000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def bt709_from_light(light: np.ndarray) -> np.ndarray:
    return np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)


def write_patches(
    path: Path,
    signals: np.ndarray,
    transfer: int,
    *,
    span: int = LIMITED,
    primaries: int = BT2020,
) -> Path:
    """HEVC without loss, 10 bits: patches side by side of BT.2020 R'G'B' (n, 3)."""
    luma = signals @ [0.2627, 0.6780, 0.0593]
    blue, red = (signals[:, 2] - luma) / 1.8814, (signals[:, 0] - luma) / 1.4746
    black, y, c = (64, 876, 896) if span == LIMITED else (0, 1023, 1023)
    planes = (black + y * luma, 512 + c * blue, 512 + c * red)
    frame = av.VideoFrame(SIDE * len(signals), SIDE, "yuv420p10le")
    for plane, codes in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
        row = np.repeat(codes.round(), plane.width // len(signals))
        rows[:, : len(row)] = row
        plane.update(rows.tobytes())
    with av.open(str(path), "w") as container:
        options = {"x265-params": "lossless=1:bframes=0:log-level=none"}
        stream = container.add_stream("libx265", rate=25, options=options)
        stream.width, stream.height = frame.width, frame.height
        stream.pix_fmt = "yuv420p10le"
        for coded in (stream.codec_context, frame):
            coded.colorspace, coded.color_primaries = 9, primaries
            coded.color_trc, coded.color_range = transfer, span
        for number in range(2):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_patches(path: Path) -> np.ndarray:
    """Levels of the patches' centres in the second frame, n x 3."""
    *_, frame = read_frames(path)
    return frame.image[SIDE // 2, SIDE // 2 :: SIDE].astype(float)


@pytest.mark.parametrize("span", [LIMITED, FULL], ids=["limited", "full"])
@pytest.mark.parametrize(
    ("transfer", "from_light"),
    [(HLG, hlg_from_light), (PQ, pq_from_light)],
    ids=["HLG", "PQ"],
)
def test_colours_come_back_as_those_of_the_scene(tmp_path, transfer, from_light, span):
    signals = from_light(SCENE @ BT2020_FROM_BT709.T)
    path = write_patches(tmp_path / "phone.mov", signals, transfer, span=span)
    expected = 255 * bt709_from_light(SCENE)
    np.testing.assert_allclose(read_patches(path), expected, atol=2)


def test_a_file_that_names_no_primaries_has_those_of_hdr(tmp_path):
    signals = hlg_from_light(SCENE @ BT2020_FROM_BT709.T)
    named, silent = (
        read_patches(write_patches(tmp_path / f"{n}.mov", signals, HLG, primaries=n))
        for n in (BT2020, UNSPECIFIED)
    )
    np.testing.assert_array_equal(silent, named)


@pytest.mark.parametrize(
    ("transfer", "white"), [(HLG, 0.75), (PQ, 0.58)], ids=["HLG", "PQ"]
)
def test_levels_of_grey_card_and_diffuse_white(tmp_path, transfer, white):
    signals = np.array([[0.0], [0.38], [white]]).repeat(3, axis=1)
    path = write_patches(tmp_path / "phone.mov", signals, transfer)
    black, card, diffuse = read_patches(path)
    np.testing.assert_allclose(black, 0, atol=1)
    np.testing.assert_allclose(card, 255 * 0.409, atol=2)
    # 1 is rolled off to 0.6 + 0.4 (1 - 1 / e).
    np.testing.assert_allclose(diffuse, 255 * bt709_from_light(0.853), atol=2)


def test_highlights_are_rolled_off_and_not_cut(tmp_path):
    signals = np.linspace(0.5, 1.0, 11)[:, None].repeat(3, axis=1)
    grey = read_patches(write_patches(tmp_path / "phone.mov", signals, HLG))[:, 0]
    steps = np.diff(grey)
    assert (steps[:7] > 3).all()  # to 85 %, 1.7 times diffuse white
    assert (steps >= 0).all()
    assert (np.diff(steps)[2:] < 0.5).all()  # no kink
    assert grey[-1] >= 254


@pytest.mark.parametrize("transfer", [BT709, BT2020_SDR], ids=["BT.709", "BT.2020"])
def test_ten_bits_alone_are_no_hdr(tmp_path, transfer):
    signals = 0.2 + 0.6 * SCENE
    path = write_patches(tmp_path / "camera.mov", signals, transfer)
    np.testing.assert_allclose(read_patches(path), 255 * signals, atol=3)
    assert check(path).facts["camera.mov"]["colours"] == "SDR"


@pytest.mark.parametrize("transfer", [HLG, PQ], ids=["HLG", "PQ"])
def test_the_validator_says_that_colours_are_converted(tmp_path, transfer):
    path = write_patches(tmp_path / "phone.mov", np.full((3, 3), 0.4), transfer)
    said = check(path).facts["phone.mov"]["colours"]
    assert said == f"HDR ({'HLG' if transfer == HLG else 'PQ'}), converted to SDR"
