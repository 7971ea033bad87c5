# SPDX-License-Identifier: Apache-2.0
"""A cluster on one machine: N processes x M simulated devices, for trying things out.

    python -m launch.local_cluster --processes 2 --devices 4 -- train regress ...

runs `i2z train regress ...` as two hosts with four CPU devices each: the same program,
collectives and checkpoints as on a real cluster, without its speed.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

# How often the processes are looked at, seconds.
POLL = 0.2


def start(
    arguments: Sequence[str], *, processes: int, devices: int, **options
) -> list[subprocess.Popen]:
    """Start `python ARGUMENTS` as every process of a cluster.

    Args:
        arguments: what follows the interpreter.
        processes: simulated hosts.
        devices: simulated devices of each.
        options: of `subprocess.Popen`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    simulated = f"--xla_force_host_platform_device_count={devices}"
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {simulated}".strip(),
                "JAX_COORDINATOR_ADDRESS": address,
                "JAX_NUM_PROCESSES": str(processes),
                "JAX_PROCESS_ID": str(index),
            },
            **options,
        )
        for index in range(processes)
    ]


def wait(cluster: Sequence[subprocess.Popen]) -> int:
    """Until all have ended; the first failure ends the others.

    Returns:
        0, or the exit status of the process that failed first.
    """
    while any(process.poll() is None for process in cluster):
        failed = next((p.returncode for p in cluster if p.poll()), 0)
        if failed:
            time.sleep(POLL)  # the others may have something to say, too
            for process in cluster:
                if process.poll() is None:
                    process.kill()
            return failed
        time.sleep(POLL)
    return next((p.returncode for p in cluster if p.returncode), 0)


def main() -> None:
    """Run an `i2z` command as a cluster; SIGTERM and Ctrl-C reach every process."""
    parser = argparse.ArgumentParser(
        prog="launch.local_cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--processes", type=int, default=2, help="simulated hosts")
    parser.add_argument("--devices", type=int, default=4, help="devices of each host")
    parser.add_argument("command", nargs="+", help="-- and an i2z command")
    options = parser.parse_args()
    program = "from i2z_jax.commands import main; main()"
    cluster = start(
        ["-c", program, *options.command],
        processes=options.processes,
        devices=options.devices,
    )

    def pass_on(number: int, _) -> None:
        for process in cluster:
            if process.poll() is None:
                process.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    sys.exit(wait(cluster))


if __name__ == "__main__":
    main()
