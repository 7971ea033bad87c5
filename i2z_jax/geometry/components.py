# SPDX-License-Identifier: Apache-2.0
"""PCA of m samples in d >> m dimensions, by the m x m Gram matrix."""

import numpy as np

from i2z_jax.types import Float, NDArray


def principal_components(
    x: Float[NDArray, "m d"], most: int, *, least_share: float = 1e-7
) -> tuple[Float[NDArray, "k d"], Float[NDArray, "k"]]:
    """Orthonormal directions and standard deviations, the largest first.

    Args:
        x: samples about zero.
        most: components to return at most.
        least_share: of the largest variance; components with less are noise, or zero by
            rounding, and left out.
    """
    values, vectors = np.linalg.eigh(x @ x.T)
    values, vectors = values[::-1][:most], vectors[:, ::-1][:, :most]
    kept = values > least_share * max(values[0], 1e-12)
    values, vectors = values[kept], vectors[:, kept]
    return (vectors / np.sqrt(values)).T @ x, np.sqrt(values / len(x))
