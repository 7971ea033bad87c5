# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks SUBJECT`: measure on this machine and print a table."""

from typing import Literal

import tyro
from rich.table import Table

from benchmarks.timing import table
from i2z_jax.console import out


def main(
    subject: tyro.conf.Positional[
        Literal["forward", "conversion", "pipeline", "raster", "scale"]
    ],
    batch: tuple[int, ...] = (1, 8),
    rounds: int = 9,
    workers: int = 2,
    stage: str = "regress",
    preset: str = "paper",
    rows: int = 128,
    devices: int = 8,
    fsdp: int = 1,
) -> None:
    """Measure one subject.

    Args:
        subject: forward: the `paper` network against PyTorch; conversion: a VGG-19;
            pipeline: batches onto the device against bare decoding; raster: rasterise,
            unwrap and render at full size; scale: a training step on paper, for 1 to
            1024 devices.
        batch: batch sizes of `forward`.
        rounds: calls of each contender that count, of `forward`.
        workers: loading processes of `pipeline`.
        stage: what `scale` counts: landmarks, dam, regress or adapt.
        preset: its sizes.
        rows: its examples on each device.
        devices: simulated ones it compiles the step for; 0: it counts without.
        fsdp: of these, how many share the large kernels.
    """
    if subject == "forward":
        from benchmarks import forward

        for size in batch:
            for title, timings in forward.measure(size, rounds).items():
                out.print(table(title, timings, peer=list(timings)[-1]))
    elif subject == "pipeline":
        from benchmarks import pipeline

        out.print(pipeline.table(pipeline.measure(workers), workers))
    elif subject == "scale":
        from benchmarks import scale

        scale.report(stage, preset=preset, rows=rows, devices=devices, fsdp=fsdp)
    elif subject == "raster":
        from benchmarks import raster

        timings, memory = raster.measure(rounds)
        out.print(table("geometry", timings, peer=next(iter(timings))))
        for name, size in memory.items():
            out.print(f"{name}: {size:.0f} MiB of temporary memory")
    else:
        from benchmarks import conversion

        done = conversion.measure()
        rows = Table("", "", title="VGG-19 .pth to a model folder")
        rows.add_row("seconds", f"{done.seconds:.2f}")
        rows.add_row("file", f"{done.file / 2**20:.0f} MiB")
        rows.add_row("libraries alone", f"{done.baseline / 2**20:.0f} MiB")
        rows.add_row("peak above them", f"{done.peak / 2**20:.0f} MiB")
        rows.add_row("peak / file", f"{done.peak / done.file:.2f}")
        out.print(rows)


if __name__ == "__main__":
    tyro.cli(main)
