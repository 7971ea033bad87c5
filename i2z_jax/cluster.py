# SPDX-License-Identifier: Apache-2.0
"""Multi-process start: `jax.distributed.initialize` before any other JAX call.

It hangs or fails where there is nobody to meet. So it is called only when asked
(`--distributed`, `JAX_COORDINATOR_ADDRESS`) or when a scheduler says that this process
is one of several. DESIGN section 11; docs/scale.md has the commands.
"""

import os
import sys
from collections.abc import Mapping

from i2z_jax.errors import InputError, first_line

# Variables of a scheduler that count the processes of one program: a SLURM step (not
# the allocation: in a shell of `salloc` nobody else is there), Open MPI.
COUNTS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
# Names of the hosts of a TPU pod on Kubernetes.
TPU_HOSTS = "TPU_WORKER_HOSTNAMES"


def is_one_of_several(environment: Mapping[str, str]) -> bool:
    """Whether the environment says that this process is one of several.

    Kubernetes without TPUs, and `launch.local_cluster`, say it in JAX's own words:
    `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID`.
    """
    if "JAX_COORDINATOR_ADDRESS" in environment:
        return True
    if "," in environment.get(TPU_HOSTS, ""):
        return True
    return any(int(environment.get(name, 1)) > 1 for name in COUNTS)


def join(*, asked: bool = False) -> None:
    """Meet the other processes, if there are any; only the first one prints from here.

    Args:
        asked: meet them even if the environment does not say so. JAX then asks the
            machine (a Cloud TPU pod knows, without any variable).

    Raises:
        InputError: the others could not be found.
    """
    if not (asked or is_one_of_several(os.environ)):
        return
    import jax

    from i2z_jax import console

    count, index = (
        int(os.environ[name]) if name in os.environ else None
        for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    )
    try:
        jax.distributed.initialize(num_processes=count, process_id=index)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the processes of this run did not meet ({first_line(error)})",
            expected="a SLURM, MPI, Kubernetes or TPU job, or JAX_COORDINATOR_ADDRESS, "
            "JAX_NUM_PROCESSES and JAX_PROCESS_ID",
            fix="see docs/scale.md",
        ) from error
    if jax.process_index():
        console.out.quiet = console.err.quiet = True


def leave(code: int) -> None:
    """Exit; after a failure skip JAX's shutdown barrier.

    Processes blocked in a step by the failed one would never reach it.
    """
    distributed = sys.modules.get("jax") and sys.modules["jax"].distributed
    if code and distributed and distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
