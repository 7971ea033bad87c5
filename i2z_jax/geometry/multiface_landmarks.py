# SPDX-License-Identifier: Apache-2.0
"""The 68 landmarks on Multiface's texture chart, which all its subjects share.

Multiface ships no landmarks. These were read off one subject's average texture, to
about 3 texels of 1024 (1 mm): good enough to place expressions, and a start for a map
derived from pictures (`geometry/landmark_map.py`). Indices only: nothing of the
licensed data is in here.
"""

import numpy as np

from i2z_jax.geometry.landmark_map import nearest_on_surface
from i2z_jax.geometry.topology import Topology
from i2z_jax.types import Float, Int, NDArray

FACES, VERTICES, UVS = 11432, 7306, 5779
SIZE = 1024
# Column and row from the top, in texels of a texture file of 1024.
_RIGHT_JAW = [(205, 365), (205, 430), (207, 490), (212, 550), (224, 610), (248, 670),
              (300, 735), (400, 785)]  # fmt: skip
_MIRROR_COLUMN = 1026
TEXELS = [
    *_RIGHT_JAW, (513, 797), *[(_MIRROR_COLUMN - x, y) for x, y in _RIGHT_JAW[::-1]],
    # Brows.
    (303, 290), (330, 262), (370, 246), (410, 248), (440, 258),
    (592, 254), (625, 245), (655, 240), (690, 248), (718, 278),
    # Nose: bridge, then nostrils.
    (512, 327), (512, 375), (513, 418), (513, 462),
    (455, 513), (485, 517), (513, 521), (541, 517), (568, 513),
    # Eyes.
    (334, 349), (358, 328), (398, 324), (447, 359), (412, 366), (364, 364),
    (577, 360), (610, 332), (652, 329), (694, 347), (660, 359), (615, 366),
    # Outer lip.
    (432, 635), (458, 568), (488, 556), (513, 559), (540, 556), (568, 568), (590, 635),
    (570, 690), (545, 703), (513, 708), (482, 703), (456, 690),
    # Inner lip: the rims that a sheet of long triangles spans between.
    (441, 634), (478, 585), (513, 582), (548, 585), (581, 634),
    (548, 667), (513, 669), (478, 667),
]  # fmt: skip


def is_multiface(topology: Topology) -> bool:
    """Whether a mesh has Multiface's topology, by its counts."""
    counts = len(topology.faces), topology.vertex_count, len(topology.uvs)
    return counts == (FACES, VERTICES, UVS)


def landmark_map(
    topology: Topology,
) -> tuple[Int[NDArray, "68"], Float[NDArray, "68 3"]]:
    """Triangle and weights of each landmark on a mesh of this topology."""
    column, row = np.array(TEXELS).T
    chart = np.stack([column + 0.5, SIZE - 0.5 - row, np.zeros(len(TEXELS))], -1)
    uvs = np.pad(SIZE * topology.uvs.astype(float), [(0, 0), (0, 1)])
    triangle, weights = nearest_on_surface(chart, uvs, topology.uv_faces)
    return triangle.astype(np.int32), weights.astype(np.float32)
