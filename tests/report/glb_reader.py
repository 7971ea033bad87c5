# SPDX-License-Identifier: Apache-2.0
"""A reader of GLB files written from the specification alone."""

import json
import struct

import numpy as np


class Glb:
    """A reader of its own, by the specification."""

    def __init__(self, data: bytes):
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        self.json = json.loads(data[20 : 20 + size])
        binary, kind = struct.unpack_from("<I4s", data, 20 + size)
        assert kind == b"BIN\0"
        self.binary = data[28 + size : 28 + size + binary]
        assert self.json["buffers"][0]["byteLength"] <= binary

    def array(self, number: int) -> np.ndarray:
        accessor = self.json["accessors"][number]
        view = self.json["bufferViews"][accessor["bufferView"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        dtype = {5126: "<f4", 5125: "<u4"}[accessor["componentType"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        count = accessor["count"] * width
        assert 4 * count <= view["byteLength"]
        values = np.frombuffer(self.binary, dtype, count, start).reshape(-1, width)
        for name, reduce in (("min", np.min), ("max", np.max)):
            if name in accessor:
                np.testing.assert_array_equal(reduce(values, axis=0), accessor[name])
        return values

    def animation(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        animation = self.json["animations"][0]
        found = {}
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            assert sampler.get("interpolation", "LINEAR") == "LINEAR"
            times = self.array(sampler["input"])[:, 0]
            assert (np.diff(times) > 0).all()
            found[channel["target"]["path"]] = times, self.array(sampler["output"])
        return found
