# SPDX-License-Identifier: Apache-2.0
"""The programs of a pod that is not here."""

import importlib.util

import pytest

from tests.processes import finish, start

CHECK = ("-m", "launch.export_check", "dam", "--preset", "tiny")


def test_a_stage_lowers_for_a_tpu():
    out, _ = finish(start(*CHECK, "--rows", 4, "--microbatches", 2))
    row = next(line for line in out.splitlines() if " dam " in line)
    trained, frozen, arguments, program, _ = map(float, row.split("│")[2:-1])
    # What is trained is there three times, as Adam has it.
    assert trained + frozen < arguments < 3 * trained + frozen + 10
    assert program > 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--fsdp", 3], "expected a divisor of 8 devices, got 3"),
        (["--microbatches", 3], "--microbatches has to divide --rows"),
        (["--chips", "v9:1x1"], "TPU"),
    ],
    ids=lambda x: x[0].strip("-") if isinstance(x, list) else "",
)
def test_a_mesh_that_cannot_be_is_one_line(options, says):
    _, error = finish(start(*CHECK, *options), status=2)
    assert says in error.splitlines()[-1]


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="the TPU's compiler: .[tpu]"
)
def test_the_tpu_s_compiler_says_what_a_chip_holds():
    out, _ = finish(start(*CHECK, "--chips", "v5e:2x2"), within=1200)
    row = next(line for line in out.splitlines() if " dam " in line)
    temporaries = float(row.split("│")[5])
    assert temporaries > 0
