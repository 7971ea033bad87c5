# SPDX-License-Identifier: Apache-2.0
"""Reading order is import order: no file imports from a layer to its right."""

import ast
from pathlib import Path

import pytest

from tests.processes import finish, start

PACKAGE = Path(__file__).parent.parent / "i2z_jax"

# Left to right. A layer may import from itself and from what stands before it.
LAYERS = [
    {
        "errors",
        "types",
        "files",
        "lock",
        "settings",
        "stopping",
        "console",
        "config",
        "presets",
        "dataclass_json",
        "wording",
    },
    {"chunks", "drawing", "spacing", "stopwatch"},
    {"compile_cache", "malloc", "xla_flags"},
    {"cluster", "sharding", "collectives"},
    {"geometry"},
    {"data"},
    {"synth"},
    {"models"},
    {"checkpoint", "system"},
    {"convert"},
    {"losses"},
    {"objectives"},
    {"train"},
    {"evaluate", "track"},
    {"report"},
    {"commands", "__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# Libraries that only some layers may know (CONTRIBUTING.md).
HOMES = {
    "flax": {"models", "convert", "checkpoint", "train"},
    "orbax": {"checkpoint"},
    "torch": {"convert"},
    "grain": {"data"},
    "tensorflow": set(),
}
NO_JAX = {
    "chunks",
    "data",
    "drawing",
    "spacing",
    "errors",
    "files",
    "lock",
    "settings",
    "stopping",
    "console",
    "config",
    "presets",
    "dataclass_json",
    "stopwatch",
    "wording",
}


def modules() -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p.parent != PACKAGE or
            p.name != "__init__.py"]  # fmt: skip


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_left(path):
    layer = layer_of(path)
    assert layer in RANK, f"{layer} has no place in LAYERS"
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "i2z_jax" and rest and rest[0] in RANK:
            assert RANK[rest[0]] <= RANK[layer], f"{layer} imports {name}"
        if top in HOMES:
            assert layer in HOMES[top] | {"commands"}, f"{layer} imports {name}"
        if layer in NO_JAX:
            # jaxtyping is fine: it does not import jax.
            assert top not in {"jax", "flax", "optax"}, f"{layer} imports {name}"


def test_training_does_not_load_pytorch():
    """tensorboardX would, wherever it is installed."""
    code = "import sys, i2z_jax.train.adapt; sys.exit('torch' in sys.modules)"
    finish(start("-c", code))
