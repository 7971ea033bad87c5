# SPDX-License-Identifier: Apache-2.0
"""A head's expressions as blend shapes (`geometry/blendshapes.py`)."""

import jax.numpy as jnp
import numpy as np

from i2z_jax.geometry.blendshapes import BlendShapes
from i2z_jax.synth.subject import Head


def blend_shapes(head: Head) -> BlendShapes:
    """Neutral face and full expressions, mm, head space.

    Names are in ARKit's spelling ("mouthSmileLeft"). Lids and jaw of the procedural
    head turn: mixtures of its shapes are near its own, not equal to them.
    """
    count = len(head.expression_names)
    poses = jnp.concatenate([jnp.zeros((1, count)), jnp.eye(count)])
    neutral, *full = np.asarray(head.vertices(poses), float)
    return BlendShapes(
        tuple(map(_camel_case, head.expression_names)),
        neutral,
        np.stack(full) - neutral[None],
    )


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
