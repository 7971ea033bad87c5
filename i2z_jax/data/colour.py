# SPDX-License-Identifier: Apache-2.0
"""Decoded frames as an ordinary camera would have recorded the scene: BT.709, 8 bits.

    YCbCr -> RGB signal -> scene light -> BT.709 primaries -> BT.709 signal

What the colours of a frame mean is decided here alone. A file names their matrix,
primaries and transfer function by the numbers of ITU-T H.273, or is silent; then
they are what players take them for. Most video holds BT.709 signals once the matrix is
undone, and goes no further.

The light of HDR is in units of HLG's peak, which is 3.77 times diffuse white (ITU-R
BT.2408: diffuse white is 75 % of an HLG signal, and 203 cd/m2 of PQ). An 18 % grey card
is then 38 % of either signal, and 41 % of the SDR one. Highlights are rolled off. SDR's
light is in units of white, by the inverse of BT.709's OETF, whichever SDR transfer
function a file names.
"""

from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

from i2z_jax.types import Float, NDArray, UInt8

# H.273's numbers of unspecified and reserved matrices and primaries; RGB's matrix, too.
SILENT = {0, 2, 3}
# Matrices that libswscale undoes (6 is 5, BT.601, of other lines a frame): all but
# YCgCo, ICtCp and BT.2020's constant luminance.
READABLE = {*Colorspace, 6}
HDR: dict[int, str] = {ColorTrc.ARIB_STD_B67: "HLG", ColorTrc.SMPTE2084: "PQ"}
BT709, BT2020, P3 = (
    ColorPrimaries.BT709,
    ColorPrimaries.BT2020,
    ColorPrimaries.SMPTE432,
)
WIDE: dict[int, str] = {BT2020: "BT.2020", P3: "Display P3"}
# CIE x and y of red, green, blue and white (H.273).
_D65 = (0.3127, 0.3290)
_CHROMATICITIES: dict[int, tuple] = {
    BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
# Scene light above this much of diffuse white is rolled off; most skin is below.
KNEE = 0.6
# libswscale's white in 16 bits a channel is that of 8 bits, shifted.
WHITE = 255 << 8
# Diffuse white in units of HLG's peak: the light of 75 % signal.
DIFFUSE_WHITE = 0.26496
# HLG's OETF: BT.2100.
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
# PQ's EOTF (SMPTE ST 2084), and the display that makes PQ and HLG comparable (BT.2408).
_M1, _M2, _C1, _C2, _C3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
_PQ_NITS, _PEAK_NITS, _SYSTEM_GAMMA = 10000.0, 1000.0, 1.2


class Coding(NamedTuple):
    """How the colours of a frame are coded."""

    matrix: int  # H.273's number, and libswscale's
    primaries: int  # BT709, BT2020 or P3
    transfer: str  # HLG, PQ or SDR

    @property
    def converted(self) -> str:
        """What `picture` converts the light of, in words; "" of ordinary video."""
        if self.transfer != "SDR":
            return f"HDR ({self.transfer})"
        return f"SDR ({WIDE[self.primaries]})" if self.primaries in WIDE else ""


def coding(frame: av.VideoFrame) -> Coding:
    """What the tags of a frame say of its colours, or what a silent tag stands for.

    HDR and the matrix and the primaries of BT.2020 go together (BT.2100, BT.2020): one
    stands for the others. An untagged matrix is guessed by the size as mpv does: BT.709
    for HD, BT.601 below. Primaries of old standards are near BT.709's, and are taken
    for them.
    """
    transfer = HDR.get(frame.color_trc, "SDR")
    matrix, primaries = frame.colorspace, frame.color_primaries
    if matrix in SILENT:
        if transfer != "SDR" or primaries == BT2020:
            matrix = Colorspace.BT2020
        elif frame.width >= 1280 or frame.height > 576:
            matrix = Colorspace.ITU709
        else:
            matrix = Colorspace.ITU601
    if primaries in SILENT and (transfer != "SDR" or matrix == Colorspace.BT2020):
        primaries = BT2020
    if primaries not in WIDE:
        primaries = BT709
    return Coding(matrix, primaries, transfer)


def picture(frame: av.VideoFrame, width: int) -> UInt8[NDArray, "h w 3"]:
    """The picture of a frame, scaled to a width.

    Colours that BT.709 does not have are clipped, and so is light above 1000 cd/m2.
    """
    matrix, primaries, transfer = coding(frame)
    if (primaries, transfer) == (BT709, "SDR"):
        return frame.to_ndarray(format="rgb24", width=width, src_colorspace=matrix)
    signal = frame.to_ndarray(format="rgb48le", width=width, src_colorspace=matrix)
    light = cv2.LUT(signal, _LIGHT[transfer])
    if transfer == "PQ":
        luminance = cv2.transform(light, np.tile(_XYZ_FROM[primaries][1], (3, 1)))
        light = cv2.multiply(
            light, cv2.LUT(luminance, _SCENE_PER_DISPLAY), dtype=cv2.CV_16U
        )
    if primaries != BT709:
        light = cv2.transform(light, _BT709_FROM[primaries])
    return cv2.LUT(light, _SDR if transfer == "SDR" else _ROLLED_OFF)


def _xyz_from_rgb(chromaticities: Float[NDArray, "4 2"]) -> Float[NDArray, "3 3"]:
    """CIE XYZ of linear light, where white's Y is 1 (SMPTE RP 177)."""
    x, y = chromaticities.T
    xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    return xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3])


def _hlg_light(signal: Float[NDArray, "n"]) -> Float[NDArray, "n"]:
    """Scene light: BT.2100's inverse OETF."""
    return np.where(
        signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12
    )


def _pq_light(signal: Float[NDArray, "n"]) -> Float[NDArray, "n"]:
    """Light of the display, where 1 is 1000 cd/m2: ST 2084's EOTF."""
    root = signal ** (1 / _M2)
    ratio = np.maximum(root - _C1, 0) / (_C2 - _C3 * root)
    return _PQ_NITS / _PEAK_NITS * ratio ** (1 / _M1)


def _scene_per_display(luminance: Float[NDArray, "n"]) -> Float[NDArray, "n"]:
    """By what BT.2100's inverse OOTF multiplies colours of a display luminance."""
    return np.maximum(luminance, luminance[1]) ** (1 / _SYSTEM_GAMMA - 1)


def _rolled_off(light: Float[NDArray, "n"]) -> Float[NDArray, "n"]:
    """What SDR keeps of HDR's scene light, in units of its white."""
    light = light / DIFFUSE_WHITE
    over = np.maximum(light - KNEE, 0)
    # Its slope is 1 at the knee, and its end 1.
    return np.minimum(light, KNEE) - (1 - KNEE) * np.expm1(-over / (1 - KNEE))


def _sdr_light(signal: Float[NDArray, "n"]) -> Float[NDArray, "n"]:
    """Scene light: BT.709's inverse OETF."""
    return np.where(
        signal < 0.081, signal / 4.5, ((signal + 0.099) / 1.099) ** (1 / 0.45)
    )


def _sdr_signal(light: Float[NDArray, "n"]) -> Float[NDArray, "n"]:
    """BT.709's OETF."""
    return np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)


def _table(values: Float[NDArray, "n"], dtype: type) -> NDArray:
    return np.round(values.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


_XYZ_FROM = {name: _xyz_from_rgb(np.array(c)) for name, c in _CHROMATICITIES.items()}
_BT709_FROM = {
    name: np.linalg.solve(_XYZ_FROM[BT709], xyz) for name, xyz in _XYZ_FROM.items()
}
# 16 bits of linear light are within half a level of SDR's 8.
_CODES = np.arange(1 << 16)
_SIGNAL, _UNIT = np.minimum(_CODES / WHITE, 1), _CODES / _CODES[-1]
_LIGHT = {
    "HLG": _table(_hlg_light(_SIGNAL), np.uint16),
    "PQ": _table(_pq_light(_SIGNAL), np.uint16),
    "SDR": _table(_sdr_light(_SIGNAL), np.uint16),
}
_SCENE_PER_DISPLAY = _scene_per_display(_UNIT).astype(np.float32)
_SDR = _table(_sdr_signal(_UNIT), np.uint8)
_ROLLED_OFF = _table(_sdr_signal(_rolled_off(_UNIT)), np.uint8)
