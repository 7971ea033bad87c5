# SPDX-License-Identifier: Apache-2.0
"""Conversion of a torchvision VGG-19 file, classifier included: seconds and memory."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.device import Rates
from benchmarks.measure import Cost, Row, once, row
from benchmarks.suite import Options
from i2z_jax.config import VGGConfig
from i2z_jax.convert.torch_reference.vgg import TorchVGG

# In a process of its own: a peak of memory is never given back.
CONVERT = """
import json, sys, time
import jax.numpy as jnp
from i2z_jax.checkpoint import load, save_model
from i2z_jax.convert.convert import convert
jnp.zeros(1).block_until_ready()
def peak():  # ru_maxrss would count what the parent process had
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) * 1024
before, start, cpu = peak(), time.perf_counter(), time.process_time()
done = convert(sys.argv[1])
save_model(sys.argv[2], done.module, done.card)
written = time.perf_counter()
spent = time.process_time() - cpu
print(json.dumps([written - start, spent, peak() - before, before]))
"""


def measure(options: Options, rates: Rates) -> Iterator[Row]:
    """Write a random VGG-19 checkpoint of the published size and convert it."""
    del options
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vgg19.pth"
        state = TorchVGG(VGGConfig()).state_dict()
        for index, shape in ((0, (4096, 25088)), (3, (4096, 4096)), (6, (1000, 4096))):
            state[f"classifier.{index}.weight"] = torch.rand(shape)
            state[f"classifier.{index}.bias"] = torch.rand(shape[0])
        torch.save(state, path)
        command = [sys.executable, "-c", CONVERT, str(path), str(path.parent / "out")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds, cpu, peak, baseline = json.loads(done.stdout)
        size = path.stat().st_size
    # What no conversion can do without: the file read.
    cost = Cost(0.0, float(size), peak)
    yield row(
        "conversion",
        f"{size / 2**20:.0f} MiB, beside {baseline / 2**20:.0f} MiB of libraries",
        "i2z_jax", 1, rates=rates, cost=cost, **once(seconds, cpu),
    )  # fmt: skip
