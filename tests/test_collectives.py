# SPDX-License-Identifier: Apache-2.0
"""Reading programs of every platform's dialect, with known answers."""

from i2z_jax.collectives import bytes_by_kind, collectives

PROGRAM = """
HloModule jit_step, num_partitions=8

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%inner (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %all-reduce.5 = f32[4]{0} all-reduce(%x), replica_groups=[1,8]<=[8], to_apply=%add
}

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %while.2 = (s32[], f32[4]) while(%t), condition=%c, body=%inner, backend_config={"known_trip_count":{"n":"3"}}
}

ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %while.1 = (s32[], f32[4]) while(%t), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"2"}}
  %all-reduce.1 = (f32[8,4]{1,0}, bf16[2]{0}) all-reduce(%g, %h), to_apply=%add, metadata={op_name="jit(step)/dot_general" source_line=3}
  %ars = (f32[16]{0:T(128)}, f32[]) all-reduce-start(%g, %h), to_apply=%add
  %ard = (f32[16]{0}, f32[]) all-reduce-done(%ars)
  %ags = (bf16[4,2]{1,0:T(8,128)(2,1)}, bf16[8,2]{1,0:T(8,128)(2,1)}) all-gather-start(%k), dimensions={0}
  %agd = bf16[8,2]{1,0} all-gather-done(%ags)
  %cps = (f32[6]{0}, f32[6]{0}, u32[], u32[]) collective-permute-start(%k), source_target_pairs={{0,1}}
  %cpd = f32[6]{0} collective-permute-done(%cps)
  %a2a = (f32[1,2]{1,0}, f32[1,2]{1,0}) all-to-all(%k, %l), dimensions={0}
}
"""  # noqa: E501


def test_bytes_of_every_kind():
    assert bytes_by_kind(collectives(PROGRAM)) == {
        # In a loop of 3 inside one of 2; tuples; asynchronous ones once.
        "all-reduce": 16 * 6 + (128 + 4) + (64 + 4),
        "all-gather": 8 * 2 * 2,
        "collective-permute": 24,
        "all-to-all": 16,
    }


def test_what_a_collective_serves():
    found = collectives(PROGRAM)
    assert [c.times for c in found] == [6, 1, 1, 1, 1, 1]
    assert found[1].shapes == ("f32[8,4]", "bf16[2]")
    assert found[1].origin == "jit(step)/dot_general"
