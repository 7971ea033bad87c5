# SPDX-License-Identifier: Apache-2.0
"""Self-supervised adaptation of photoreal face models to monocular video, in JAX.

After Yoon, Shiratori, Yu and Park, "Self-Supervised Adaptation of High-Fidelity
Face Models for Monocular Performance Tracking", CVPR 2019.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from i2z_jax.checkpoint import load


def __getattr__(name: str) -> Any:
    # `import i2z_jax` stays instant: jax and orbax load with the first use.
    if name == "load":
        from i2z_jax.checkpoint import load

        return load
    raise AttributeError(f"module 'i2z_jax' has no attribute {name!r}")
