# SPDX-License-Identifier: Apache-2.0
"""What a compiled program sends between devices, read from its text.

The claim of DESIGN section 11, that a step sends gradients of trained parameters and
scalars and nothing else, is held by tests that read programs with this; the same
numbers predict speed at scale (`python -m benchmarks scale`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

# Bits of XLA's element types.
BITS = {
    "pred": 8, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "f16": 16, "bf16": 16,
    "s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64, "f64": 64, "c64": 64,
}  # fmt: skip
KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "ragged-all-to-all",
    "collective-broadcast",
)
# `%name = TYPE KIND(...)`; an asynchronous collective is a `-start` and a `-done`, and
# counts once. TYPE is `f32[8,4]{1,0}` or a tuple of such.
_INSTRUCTION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_BODY = re.compile(r"body=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclass(frozen=True)
class Collective:
    """One collective of a program.

    Attributes:
        kind: of `KINDS`.
        shapes: of its results on one device, as `f32[8,4]`.
        size: bytes of these.
        times: how often one run of the program does it; loops with a known count.
        origin: the operation of the source that it serves, as XLA tells it.
    """

    kind: str
    shapes: tuple[str, ...]
    size: int
    times: int
    origin: str

    @property
    def sent(self) -> int:
        """Bytes of results of one run of the program."""
        return self.size * self.times


def collectives(program: str) -> list[Collective]:
    """Every collective of a compiled program, in the order of its text.

    Args:
        program: `compiled.as_text()`, of a CPU or a GPU. A TPU's repeats a collective
            in what it is fused with, and says nothing of the turns of a loop.
    """
    found: list[tuple[str, Collective]] = []
    # Computation -> the one whose loop runs it, and how often.
    loops: dict[str, tuple[str, int]] = {}
    computation = ""
    for line in program.splitlines():
        if header := _COMPUTATION.match(line):
            computation = header[1]
        elif body := _BODY.search(line):
            trips = _TRIPS.search(line)
            loops[body[1]] = (computation, int(trips[1]) if trips else 1)
        elif match := _INSTRUCTION.search(line):
            shapes = _results(match[2], match[1], asynchronous=match[3] is not None)
            origin = re.search(r'op_name="([^"]*)"', line)
            collective = Collective(
                match[2],
                tuple(f"{kind}[{dims}]" for kind, dims in shapes),
                sum(_bytes(kind, dims) for kind, dims in shapes),
                1,
                origin[1] if origin else "",
            )
            found.append((computation, collective))
    return [
        replace(collective, times=_times(where, loops)) for where, collective in found
    ]


def bytes_by_kind(found: Iterable[Collective]) -> dict[str, int]:
    """Bytes of results of one run of the program, on one device."""
    total: dict[str, int] = {}
    for collective in found:
        total[collective.kind] = total.get(collective.kind, 0) + collective.sent
    return total


def _results(kind: str, text: str, *, asynchronous: bool) -> list[tuple[str, str]]:
    arrays = _ARRAY.findall(text)
    if not asynchronous or kind == "all-reduce":
        return arrays
    # Arguments, as many results, and perhaps words for the hardware: `u32[]`.
    while arrays[-1] == ("u32", ""):
        arrays.pop()
    return arrays[len(arrays) // 2 :]


def _bytes(kind: str, dims: str) -> int:
    return prod(int(n) for n in dims.split(",") if n) * BITS.get(kind, 32) // 8


def _times(computation: str, loops: dict[str, tuple[str, int]]) -> int:
    times = 1
    while computation in loops:
        computation, trips = loops[computation]
        times *= trips
    return times
