# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for programs that a launcher calls, first on its PATH."""

from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent


def program(folder: Path, name: str, script: str) -> Path:
    """An executable of bash in `folder`/bin."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return path


def environment(folder: Path) -> dict[str, str]:
    """What a launcher sees: `folder` is home, and its programs come first."""
    return {"HOME": str(folder), "PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
