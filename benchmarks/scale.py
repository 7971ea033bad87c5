# SPDX-License-Identifier: Apache-2.0
"""A training step on paper: what 1 ... 1024 devices would make of it, without them.

Counted: FLOPs and trained bytes of the step, and the bytes of every collective
of the step compiled for simulated devices (`i2z_jax/collectives.py`). Assumed: the
rates below, that each machine reaches the same share of its matrix rate, and that
gradients are sent after the step has been computed, hidden behind nothing: the frozen
streams, which are most of a step, have no backward pass to hide them behind.

With fsdp a large kernel is gathered once, and of its gradient each device gets the sum
of its part. That is an all-reduce in two halves, and takes as long, where the devices
that share a kernel are near ones. The compiler of the simulated devices, which are
CPUs, knows no reduce-scatter: it has an all-reduce of the whole gradient in its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
from rich.table import Table

from benchmarks.flops import flops
from i2z_jax.collectives import bytes_by_kind, collectives
from i2z_jax.console import out, show_table
from i2z_jax.presets import PRESETS
from i2z_jax.sharding import create_mesh
from i2z_jax.train.abstract_step import abstract_step

# Of one all-reduce over one kind of link, seconds [assumed].
LATENCY = 30e-6
# A program that is compiled to be read, not run.
CHEAP = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclass(frozen=True)
class Machine:
    """Rates of one device, as its maker gives them, per second.

    Attributes:
        flops: dense bfloat16 matrix operations, or what a step reaches of them.
        near: bytes one way to the devices of its node or slice.
        near_devices: how many these are.
        far: bytes one way beyond, its share of the host's or the pod's network.
        source: where the figures are from.
    """

    flops: float
    near: float
    near_devices: int
    far: float
    source: str


MACHINES = {
    # Their matrix rates and links are the same.
    "DGX H100, H200": Machine(
        989e12, 450e9, 8, 50e9, "NVIDIA DGX data sheets: NVLink 4, 8 x 400 Gb/s a node"
    ),
    "TPU v5e": Machine(
        197e12, 200e9, 256, 3.1e9, "cloud.google.com/tpu/docs/v5e: 6.4 Tb/s a pod"
    ),
    "TPU v5p": Machine(
        459e12, 300e9, 8960, 6.25e9, "cloud.google.com/tpu/docs/v5p: 4800 Gb/s ICI"
    ),
    "TPU v6e": Machine(
        918e12, 400e9, 256, 12.5e9, "cloud.google.com/tpu/docs/v6e: 25.6 Tb/s a pod"
    ),
}
DEVICES = (1, 8, 64, 256, 1024)


@dataclass(frozen=True)
class Count:
    """What one device does in a step.

    Attributes:
        flops_per_row: of an example, forward and backward.
        trained: bytes of parameters, of which there is a gradient each.
        sent: bytes of results of collectives, by kind; None if it was not compiled.
    """

    flops_per_row: float
    trained: int
    sent: dict[str, int] | None


def count(
    stage: str, preset: str, *, rows: int, devices: int, fsdp: int, compiled: bool
) -> Count:
    """Read the step and, if asked, compile it for simulated devices.

    Args:
        rows: examples of one device.
        devices: simulated; how many has to be told JAX before it starts.
    """
    mesh = create_mesh(fsdp=fsdp, devices=jax.devices()[:devices])
    step = abstract_step(stage, PRESETS[preset], mesh, batch=rows * devices)
    work = flops(step.jitted, *step.arguments) / (rows * devices)
    sent = None
    if compiled:
        lowered = step.jitted.lower(*step.arguments)
        program = lowered.compile(compiler_options=CHEAP).as_text()
        sent = bytes_by_kind(collectives(program))
    return Count(work, step.trained, sent)


def report(
    stage: str, *, preset: str, rows: int, devices: int, fsdp: int, reached: float
) -> None:
    """Count one stage and print what follows.

    Args:
        reached: share of the matrix rates.
        rows: examples of one device; the strong scaling has 32 times as many in all.
        devices: simulated ones that the step is compiled for; 0 counts without.
    """
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(devices, 1))
    counted = count(
        stage,
        preset,
        rows=rows,
        devices=max(devices, 1),
        fsdp=fsdp,
        compiled=devices > 0,
    )
    out.print(
        f"{stage}, {preset}: {counted.flops_per_row / 1e9:.1f} GFLOP an example, "
        f"{counted.trained / 2**20:.1f} MiB of trained parameters"
    )
    if counted.sent is not None:
        parts = [
            f"{kind} {size / 2**20:.1f} MiB" for kind, size in counted.sent.items()
        ]
        out.print(
            f"sent in a step on {devices} CPU devices: {', '.join(parts) or 'nothing'}"
        )
    machines = {
        name: replace(machine, flops=reached * machine.flops)
        for name, machine in MACHINES.items()
    }
    for table in tables(machines, counted, stage, rows=rows, batch=32 * rows):
        show_table(table)
    for name, machine in machines.items():
        sentence = limit(machine, counted, rows=rows, devices=256)
        out.print(f"{name}: {sentence} ({machine.source})")


def seconds(machine: Machine, flops: float, reduced: float, devices: int) -> float:
    """Time of a step: compute, then all-reduce near, then far.

    Args:
        flops: of one device.
        reduced: bytes of the gradient.
        devices: of the whole run.
    """
    near = min(devices, machine.near_devices)
    groups = -(-devices // near)
    time = flops / machine.flops
    if near > 1:
        time += LATENCY + 2 * reduced * (near - 1) / near / machine.near
    if groups > 1:
        # What is reduced within a group is divided over it before it goes further.
        part = reduced / near
        time += LATENCY + 2 * part * (groups - 1) / groups / machine.far
    return time


def tables(
    machines: Mapping[str, Machine],
    counted: Count,
    stage: str,
    *,
    rows: int,
    batch: int,
) -> list[Table]:
    """Weak scaling (rows of a device fixed) and strong (global batch fixed)."""
    weak, strong = f"{rows} examples a device", f"{batch} examples in all"
    found = []
    for title, per_device in ((weak, lambda _: rows), (strong, lambda n: batch / n)):
        table = Table("examples/s", *map(str, DEVICES), title=f"{stage}: {title}")
        for name, machine in machines.items():
            alone = per_device(1) / _step(machine, counted, per_device, 1)
            cells = []
            for n in DEVICES:
                rate = per_device(n) * n / _step(machine, counted, per_device, n)
                possible = per_device(n) >= 1
                share = f"{rate / (n * alone):.0%}"
                cells.append(f"{rate / 1e3:,.1f}k {share}" if possible else "-")
            table.add_row(name, *cells)
        found.append(table)
    return found


def _step(machine: Machine, counted: Count, per_device, devices: int) -> float:
    flops = counted.flops_per_row * per_device(devices)
    return seconds(machine, flops, counted.trained, devices)


def limit(machine: Machine, counted: Count, *, rows: int, devices: int) -> str:
    """The sentence that says what a step of so many devices waits for most."""
    flops = counted.flops_per_row * rows
    compute = flops / machine.flops
    whole = seconds(machine, flops, counted.trained, devices)
    group = min(devices, machine.near_devices)
    near = seconds(machine, flops, counted.trained, group)
    shares = {
        "matrix units": compute,
        f"gradients among {group} near devices": near - compute,
        "gradients over the network": whole - near,
    }
    parts = ", ".join(f"{what} {t / whole:.0%}" for what, t in shares.items())
    return f"a step of {1e3 * whole:.1f} ms on {devices}: {parts}"
