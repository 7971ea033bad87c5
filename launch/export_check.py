# SPDX-License-Identifier: Apache-2.0
"""Does every stage lower for an accelerator that is not here, divided over many?

    python -m launch.export_check [STAGE ...] --platform tpu --preset paper

Traces and lowers the training step of each stage with shapes in place of arrays, over
a simulated mesh, for the named platform. It runs nothing, needs no data and little
memory, and finds what a pod would find minutes into a job: an operation without a
lowering, a batch that does not divide, a shape that does not fit.
"""

import argparse
import time

import jax
from rich.table import Table

from i2z_jax import console
from i2z_jax.presets import PRESETS
from i2z_jax.sharding import create_mesh
from i2z_jax.train.abstract_step import STAGES, abstract_step
from i2z_jax.train.memory import on_one_device


def main(argv: list[str] | None = None) -> None:
    """Lower the steps and print their sizes."""
    parser = argparse.ArgumentParser(
        prog="launch.export_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("stages", nargs="*", help=f"of {', '.join(STAGES)}; all of them by default")
    add("--platform", choices=["tpu", "cuda"], default="tpu")
    add("--preset", choices=sorted(PRESETS), default="paper")
    add("--devices", type=int, default=8, help="simulated devices")
    add("--fsdp", type=int, default=2, help="devices that share the large kernels")
    add("--rows", type=int, default=8, help="examples of each device")
    options = parser.parse_args(argv)
    if unknown := set(options.stages) - set(STAGES):
        parser.error(f"no stage {', '.join(sorted(unknown))}")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", options.devices)
    mesh = create_mesh(fsdp=options.fsdp)
    columns = ("stage", "trained MiB", "frozen MiB", "arguments per device MiB")
    table = Table(
        *columns,
        "program MiB",
        "seconds",
        title=f"{options.preset}, {options.platform}",
    )
    for name in options.stages or STAGES:
        start = time.perf_counter()
        step = abstract_step(
            name, PRESETS[options.preset], mesh, batch=options.rows * mesh.size
        )
        exported = jax.export.export(step.jitted, platforms=[options.platform])(
            *step.arguments
        )
        sizes = (
            step.trained,
            step.frozen,
            on_one_device(step.arguments),
            len(exported.mlir_module_serialized),
        )
        mib = [f"{size / 2**20:.1f}" for size in sizes]
        table.add_row(name, *mib, f"{time.perf_counter() - start:.1f}")
    console.out.print(table)


if __name__ == "__main__":
    main()
