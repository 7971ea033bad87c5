# SPDX-License-Identifier: Apache-2.0
"""Words beside numbers."""


def counted(count: int, thing: str) -> str:
    """So many things, in words.

    >>> counted(1, "frame"), counted(0, "frame")
    ('1 frame', '0 frames')
    """
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
