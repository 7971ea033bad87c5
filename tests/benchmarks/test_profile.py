# SPDX-License-Identifier: Apache-2.0
"""Time is put down to the part of the network that it was spent in."""

import jax
import jax.numpy as jnp

from benchmarks.measure import program
from benchmarks.profile import Operation, operations, written_as

TEXT = """
%fused_computation.1 (param_0.1: f32[8]) -> f32[8] {
  %param_0.1 = f32[8]{0} parameter(0)
  %a.1 = f32[8]{0} tanh(%param_0.1), metadata={op_name="jit(f)/jvp(vgg)/tanh"}
  ROOT %a.2 = f32[8]{0} add(%a.1, %a.1), metadata={op_name="jit(f)/jvp(vgg)/tanh"}
}

ENTRY %main.5 (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0), metadata={op_name="p"}
  %conv.3 = f32[8]{0} custom-call(%p), metadata={op_name="jit(f)/heads/conv"}
  ROOT %loop_fusion.1 = f32[8]{0} fusion(%conv.3), calls=%fused_computation.1
}
"""


def test_fusion_is_of_what_it_fuses():
    paths = written_as(TEXT)
    assert paths["conv.3"] == "jit(f)/heads/conv"
    assert paths["loop_fusion.1"] == "jit(f)/jvp(vgg)/tanh"


def test_parts():
    def part(path):
        return Operation("x", path, 1.0).part

    assert part("jit(step)/jvp(vgg)/conv_general_dilated") == "vgg"
    assert part("jit(step)/transpose(jvp(vmap(unwrap)))/gather") == "unwrap (back)"
    assert part("jit(step)/optimizer/mul") == "optimizer"
    assert part("jit(step)/jvp(jit(_where))/select_n") == "other"
    assert part("jit(step)/jvp()/bijc,cu->biju/dot_general") == "other"
    assert part("") == "other"


def test_the_heavy_part_of_a_real_program():
    """A product of 512 is thousands of times a sine of as many numbers."""

    def f(x, w):
        with jax.named_scope("light"):
            x = jnp.sin(x)
        with jax.named_scope("heavy"):
            return x @ w @ w @ w

    found = operations(program(f, jnp.ones((512, 512)), jnp.ones((512, 512))))
    assert found[0].seconds > 0
    of = {part: sum(o.seconds for o in found if o.part == part) for part in
          ("heavy", "light")}  # fmt: skip
    assert of["heavy"] > of["light"]
