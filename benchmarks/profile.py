# SPDX-License-Identifier: Apache-2.0
"""Where the time of a compiled program goes: by part of the network, by operation.

A trace of a few calls knows the compiled operation behind every kernel; the program's
text knows from which `jax.named_scope` that operation came. On a GPU run with
`XLA_FLAGS=--xla_gpu_enable_command_buffer=`: kernels of a CUDA graph have no names.
"""

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.table import Table

from benchmarks.measure import Contender
from i2z_jax.console import show_table

CALLS = 5
# Operations that a table shows.
LONGEST = 15

# `%name = type opcode(...), ..., metadata={op_name="path"}`, and what a fusion calls.
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = ")
COMPUTATION = re.compile(r"^%?([\w.\-]+) \(.*\{$")
CALLED = re.compile(r"calls=%?([\w.\-]+)")
PATH = re.compile(r'op_name="([^"]*)"')
# What they run is traced by itself.
CONTROL = re.compile(r"(while|conditional|call)[.\d]*$")
# `jit(f)/transpose(jvp(vgg))/conv` is of the scope `vgg`, on the way back; what else
# stands in parentheses, or is an einsum, is jax's own.
WRAPPED = re.compile(r"(?:jvp|transpose|vmap|remat|checkpoint|shard_map)\(")


class Operation(NamedTuple):
    """One operation of a compiled program.

    Attributes:
        name: the compiled one, a fusion of several.
        path: scopes and primitive it was written as; empty if nobody knows.
        seconds: of one call of the program, all its runs together.
    """

    name: str
    path: str
    seconds: float

    @property
    def part(self) -> str:
        """The outermost named scope, and whether it is of the backward pass."""
        *scopes, _ = _names(self.path) or [""]
        backward = " (back)" if "transpose(" in self.path else ""
        return (scopes[0] + backward) if scopes else "other"


def operations(contender: Contender) -> list[Operation]:
    """What `CALLS` calls of a compiled program spent their time on, longest first."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(CALLS):
                jax.block_until_ready(contender.call())
        (file,) = Path(folder).rglob("*.xplane.pb")
        seconds = _seconds(jax.profiler.ProfileData.from_file(str(file)))
    paths = written_as(contender.program.as_text())
    found = [Operation(n, paths.get(n, ""), s / CALLS) for n, s in seconds.items()]
    return sorted(found, key=lambda each: -each.seconds)


def _seconds(trace: Any) -> dict[str, float]:
    """Of each compiled operation: on the device, or on the CPU's threads."""
    devices = [p for p in trace.planes if p.name.startswith("/device:")]
    total: dict[str, float] = defaultdict(float)
    for plane in devices or [p for p in trace.planes if p.name == "/host:CPU"]:
        for line in plane.lines:
            for event in line.events:
                name = dict(event.stats).get("hlo_op")
                if name is None or event.name.startswith("end: "):
                    continue
                if not CONTROL.match(str(name)):
                    total[str(name)] += event.duration_ns / 1e9
    return total


def written_as(text: str) -> dict[str, str]:
    """Compiled operation to path, from a program's text.

    A fusion without a path of its own has the commonest among its operations.
    """
    paths: dict[str, str] = {}
    inside: dict[str, Counter[str]] = defaultdict(Counter)
    called: dict[str, str] = {}
    computation = ""
    for line in text.splitlines():
        if head := COMPUTATION.match(line):
            computation = head[1]
        elif found := INSTRUCTION.match(line):
            if path := PATH.search(line):
                paths[found[1]] = path[1]
                inside[computation][path[1]] += 1
            if target := CALLED.search(line):
                called[found[1]] = target[1]
    for name, target in called.items():
        if name not in paths and inside[target]:
            paths[name] = inside[target].most_common(1)[0][0]
    return paths


def _names(path: str) -> list[str]:
    """`jit(f)/transpose(jvp(vgg))/conv` -> [vgg, conv]."""
    parts = [p for p in path.split("/") if "jit(" not in p]
    return [n for p in parts if (n := WRAPPED.sub("", p).rstrip(")")).isidentifier()]


def show(case: str, contenders: Mapping[str, Contender]) -> None:
    """Two tables for each compiled program: parts, and the longest operations."""
    for name, contender in contenders.items():
        if contender.program is None:
            continue
        found = operations(contender)
        total = sum(each.seconds for each in found) or 1.0
        parts: dict[str, float] = defaultdict(float)
        for each in found:
            parts[each.part] += each.seconds
        table = Table("part", "ms", "share", title=f"{case}: {name}")
        for part, seconds in sorted(parts.items(), key=lambda item: -item[1]):
            table.add_row(part, f"{1e3 * seconds:.3g}", f"{seconds / total:.0%}")
        show_table(table)
        table = Table("operation", "ms", "written as", title="the longest")
        for each in found[:LONGEST]:
            table.add_row(each.name, f"{1e3 * each.seconds:.3g}", each.path)
        show_table(table)
