# SPDX-License-Identifier: Apache-2.0
"""Material of a head's surface, which `skin` and `eyes_and_teeth` paint."""

from typing import NamedTuple

from i2z_jax.types import ArrayLike, Float


class Appearance(NamedTuple):
    """Material at the texels `*b`: of a texture (row 0 is v = 0) or of one part."""

    albedo: Float[ArrayLike, "*b 3"]
    """Linear RGB in [0, 1]."""
    specular: Float[ArrayLike, "*b"]
    """Strength of the gloss; 1 is skin at its usual 2.8 % head-on."""
    roughness: Float[ArrayLike, "*b"]
    """0 (mirror) to 1 (chalk)."""
    height: Float[ArrayLike, "*b"]
    """Fine relief, mm outwards."""
    occlusion: Float[ArrayLike, "*b"]
    """Share of the surroundings that a texel sees at rest, 0 to 1."""
    translucence: Float[ArrayLike, "*b"]
    """How far light spreads under the surface: 1 skin, 0 teeth and eyes."""
