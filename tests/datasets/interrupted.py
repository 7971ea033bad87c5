# SPDX-License-Identifier: Apache-2.0
"""A build that is stopped when its shards are written and nothing else is."""

from types import ModuleType
from typing import Any

import pytest


def interrupted(builder: ModuleType, *arguments: Any) -> None:
    """`builder.build(*arguments)`, until Ctrl-C just before the end."""

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(builder, "adopt", stop)
        with pytest.raises(KeyboardInterrupt):
            builder.build(*arguments)
