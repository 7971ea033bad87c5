# SPDX-License-Identifier: Apache-2.0
"""HDR frames as an SDR camera would have recorded the scene: 8 bits of BT.709 signal.

    signal -> scene light -> BT.709 primaries -> highlights rolled off -> SDR signal

Light is of the scene, in units of HLG's peak, which is 3.77 times diffuse white
(ITU-R BT.2408: diffuse white is 75 % of an HLG signal, and 203 cd/m2 of PQ). An
18 % grey card is then 38 % of either signal, and 41 % of the SDR one. Ordinary video
holds BT.709 signals already, and is never changed.
"""

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorTrc

from i2z_jax.types import Float, NDArray, UInt8

TRANSFERS: dict[int, str] = {ColorTrc.ARIB_STD_B67: "HLG", ColorTrc.SMPTE2084: "PQ"}
# BT.2100 has no other primaries: they are meant where a file names none.
WIDE = {ColorPrimaries.BT2020, ColorPrimaries.UNSPECIFIED}
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
_BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593])
# ITU-R BT.2407.
_BT709_FROM_BT2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)


def transfer(frame: av.VideoFrame) -> str:
    """`HLG` or `PQ`; "" of a frame that is not HDR."""
    return TRANSFERS.get(frame.color_trc, "")


def sdr_picture(frame: av.VideoFrame, width: int) -> UInt8[NDArray, "h w 3"]:
    """The picture of an HDR frame, scaled to a width.

    Colours that BT.709 does not have are clipped, and so is light above 1000 cd/m2.
    """
    light = _LIGHT[transfer(frame)][frame.to_ndarray(format="rgb48le", width=width)]
    if frame.color_trc == ColorTrc.SMPTE2084:
        luminance = cv2.transform(light, np.tile(_BT2020_LUMINANCE, (3, 1)))
        light = cv2.multiply(light, _SCENE_PER_DISPLAY[luminance], dtype=cv2.CV_16U)
    if frame.color_primaries in WIDE:
        light = cv2.transform(light, _BT709_FROM_BT2020)
    return _SDR[light]


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


def _sdr_signal(light: Float[NDArray, "n"]) -> Float[NDArray, "n"]:
    """BT.709's OETF of what is left of scene light after the roll-off."""
    light = light / DIFFUSE_WHITE
    over = np.maximum(light - KNEE, 0)
    # Its slope is 1 at the knee, and its end 1.
    light = np.minimum(light, KNEE) - (1 - KNEE) * np.expm1(-over / (1 - KNEE))
    return np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)


def _table(values: Float[NDArray, "n"], dtype: type) -> NDArray:
    return np.round(values.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


# 16 bits of linear light are within half a level of SDR's 8.
_CODES = np.arange(1 << 16)
_SIGNAL, _UNIT = np.minimum(_CODES / WHITE, 1), _CODES / _CODES[-1]
_LIGHT = {
    "HLG": _table(_hlg_light(_SIGNAL), np.uint16),
    "PQ": _table(_pq_light(_SIGNAL), np.uint16),
}
_SCENE_PER_DISPLAY = _scene_per_display(_UNIT).astype(np.float32)
_SDR = _table(_sdr_signal(_UNIT), np.uint8)
