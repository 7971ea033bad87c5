# SPDX-License-Identifier: Apache-2.0
"""TensorBoard's files, read without what wrote them but for the message's schema."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX.proto.event_pb2 import Event


def events(folder: Path):
    """Every event: records of length, checksum, message, checksum (TFRecord)."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            start = place + 12
            yield Event.FromString(content[start : start + length])
            place = start + length + 4


def pictures(folder: Path):
    """(step, name) -> uint8 picture."""
    found = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField("image"):
                png = io.BytesIO(value.image.encoded_image_string)
                found[event.step, value.tag] = np.asarray(Image.open(png))
    return found


def curves(folder: Path):
    """(step, name) -> value."""
    return {
        (event.step, value.tag): value.simple_value
        for event in events(folder)
        for value in event.summary.value
        if value.HasField("simple_value")
    }
