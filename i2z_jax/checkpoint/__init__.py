# SPDX-License-Identifier: Apache-2.0
"""Models and training runs on disk. The only folder that knows Orbax."""

from i2z_jax.checkpoint.models import (
    ModelCard,
    Origin,
    build,
    fill,
    folder_aside,
    load,
    named_arrays,
    read_card,
    save_model,
)
from i2z_jax.checkpoint.runs import Restored, RunCheckpoints

__all__ = [
    "ModelCard",
    "Origin",
    "Restored",
    "RunCheckpoints",
    "build",
    "fill",
    "folder_aside",
    "load",
    "named_arrays",
    "read_card",
    "save_model",
]
