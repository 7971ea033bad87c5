# SPDX-License-Identifier: Apache-2.0
"""Does every stage lower for an accelerator that is not here, divided over many?

    python -m launch.export_check [STAGE ...] --platform tpu --preset paper
    python -m launch.export_check [STAGE ...] --chips v5e:4x4 --rows 32

Traces and lowers the training step of each stage with shapes in place of arrays, over
a simulated mesh, for the named platform. It runs nothing, needs no data and little
memory, and finds what a pod would find minutes into a job: an operation without a
lowering, a batch that does not divide, a shape that does not fit.

With --chips the step is compiled, too, by the TPU's own compiler, which `.[tpu]`
installs and which needs no TPU: does it fit the memory of a chip?
"""

import argparse
import importlib.util
import os
import re
import time
from collections.abc import Sequence

import jax
from jax.experimental import topologies
from rich.table import Table

from i2z_jax import console
from i2z_jax.errors import InputError
from i2z_jax.presets import PRESETS
from i2z_jax.sharding import create_mesh
from i2z_jax.train.abstract_step import STAGES, AbstractStep, abstract_step
from i2z_jax.train.memory import needed, on_one_device


def main(argv: list[str] | None = None) -> None:
    """Lower or compile the steps and print their sizes."""
    parser = argparse.ArgumentParser(
        prog="launch.export_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("stages", nargs="*", help=f"of {', '.join(STAGES)}; all of them by default")
    add("--platform", choices=["tpu", "cuda"], default="tpu")
    add(
        "--chips", help="compile for these TPU chips, minutes a stage: v5e:4x4, v6e:8x8"
    )
    add("--preset", choices=sorted(PRESETS), default="paper")
    add("--devices", type=int, default=8, help="simulated devices, without --chips")
    add("--fsdp", type=int, default=2, help="devices that share the large kernels")
    add("--rows", type=int, default=8, help="examples of each device")
    add("--microbatches", type=int, default=1, help="parts that it takes in turn")
    options = parser.parse_args(argv)
    if unknown := set(options.stages) - set(STAGES):
        parser.error(f"no stage {', '.join(sorted(unknown))}")
    if options.microbatches < 1 or options.rows % options.microbatches:
        parser.error("--microbatches has to divide --rows")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", options.devices)
    try:
        devices = _chips(options.chips) if options.chips else jax.devices()
        mesh = create_mesh(fsdp=options.fsdp, devices=devices)
    except (InputError, RuntimeError) as error:
        parser.error(str(error).splitlines()[0])
    what = f"{len(devices)} devices of {options.chips or options.platform}"
    table = Table(
        *("stage", "trained MiB", "frozen MiB", "arguments per device MiB"),
        *(["temporaries per device MiB"] if options.chips else []),
        *("program MiB", "seconds"),
        title=f"{options.preset}, {options.rows} examples on each of {what}",
    )
    for name in console.progress(options.stages or list(STAGES), "stages"):
        start = time.perf_counter()
        step = abstract_step(
            name,
            PRESETS[options.preset],
            mesh,
            batch=options.rows * mesh.size,
            microbatches=options.microbatches,
        )
        table.add_row(
            name,
            _mib(step.trained),
            _mib(step.frozen),
            _mib(on_one_device(step.arguments)),
            *(_compiled(step) if options.chips else _lowered(step, options.platform)),
            f"{time.perf_counter() - start:.1f}",
        )
    console.show_table(table)


def _chips(topology: str) -> Sequence[jax.Device]:
    """TPU chips that are not here.

    Raises:
        RuntimeError: `libtpu` is not installed, or knows no such chips.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise RuntimeError("--chips needs the TPU's compiler: pip install '.[tpu]'")
    # There is no machine to ask for these; and several compilers may run at a time,
    # because none of them holds a chip.
    for name, value in {
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }.items():
        os.environ.setdefault(name, value)
    return topologies.get_topology_desc(topology, "tpu").devices


def _lowered(step: AbstractStep, platform: str) -> list[str]:
    """The size of the program."""
    export = jax.export.export(step.jitted, platforms=[platform])
    return [_mib(len(export(*step.arguments).mlir_module_serialized))]


def _compiled(step: AbstractStep) -> list[str]:
    """What a device holds beside the arguments, or that it is too much; the size of the
    program."""
    try:
        compiled = step.jitted.lower(*step.arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        needs = re.search(r"Used (\S+) of (\S+) hbm", str(error))
        if needs is None:
            raise
        return ["does not fit: {} of {} in all".format(*needs.groups()), ""]
    memory = needed(*step.arguments, compiled)
    program = compiled.memory_analysis().generated_code_size_in_bytes
    return [_mib(memory.activations + memory.outputs), _mib(program)]


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"


if __name__ == "__main__":
    main()
