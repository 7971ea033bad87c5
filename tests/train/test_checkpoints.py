# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: donation, retention, damage, other devices and processes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i2z_jax.checkpoint import RunCheckpoints
from i2z_jax.errors import InputError
from tests.processes import finish_all, start_cluster


def tree(value):
    return {"a": jnp.full((64, 64), value), "n": jnp.asarray(int(value))}


def abstract():
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), tree(0.0)
    )


def saved(directory, steps, keep=2, scores=None):
    checkpoints = RunCheckpoints(directory, keep=keep)
    for step in steps:
        checkpoints.save(step, tree(float(step)), {"data": {"next": step * 10}})
        if step in (scores or {}):
            checkpoints.judge(step, scores[step])
    checkpoints.close()


def on_disk(directory):
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdigit())


def test_newest_comes_back_with_its_data_position(tmp_path):
    saved(tmp_path, [1, 2, 3])
    restored = RunCheckpoints(tmp_path).restore(abstract())
    assert restored.step == 3
    assert restored.extras == {"data": {"next": 30}}
    np.testing.assert_array_equal(restored.state["a"], np.full((64, 64), 3.0))
    assert on_disk(tmp_path) == [2, 3]


def test_the_best_stays_beside_the_newest(tmp_path):
    # Step 3 was not judged; 2 and 6 are equals, of which the first is the best.
    scores = {1: 0.5, 2: -0.1, 4: 0.3, 5: 0.4, 6: -0.1, 7: 0.2}
    for steps in ((1, 2, 3), (4, 5), (6, 7)):  # three processes
        saved(tmp_path, steps, scores=scores)
    assert on_disk(tmp_path) == [2, 6, 7]
    checkpoints = RunCheckpoints(tmp_path)
    assert checkpoints.best == 2
    assert checkpoints.scores == {2: -0.1, 6: -0.1, 7: 0.2}
    best = checkpoints.restore_best(abstract())
    assert (best.step, float(best.state["a"][0, 0])) == (2, 2.0)
    assert checkpoints.restore(abstract()).step == 7
    saved(tmp_path, [8, 9], scores={8: -0.2})
    assert on_disk(tmp_path) == [8, 9]


def test_no_best_where_nothing_was_judged(tmp_path):
    saved(tmp_path, [1, 2])
    checkpoints = RunCheckpoints(tmp_path)
    assert checkpoints.best is None
    assert checkpoints.restore_best(abstract()) is None


def test_a_damaged_best_gives_way_to_the_next(tmp_path, capsys):
    saved(tmp_path, [1, 2, 3], keep=3, scores={1: 0.2, 2: 0.1, 3: 0.3})
    for file in (tmp_path / "2" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    checkpoints = RunCheckpoints(tmp_path)
    assert checkpoints.restore_best(abstract()).step == 1
    assert "not readable, step 2" in capsys.readouterr().err
    assert checkpoints.best == 1


def test_an_empty_folder_is_a_new_run(tmp_path):
    assert RunCheckpoints(tmp_path).restore(abstract()) is None


def test_donating_right_after_save_does_not_change_what_is_written(tmp_path):
    checkpoints = RunCheckpoints(tmp_path)
    overwrite = jax.jit(
        lambda t: jax.tree.map(lambda x: x * 0 - 1, t), donate_argnums=0
    )
    state = {"a": jnp.full((2048, 2048), 7.0)}
    checkpoints.save(1, state, {})
    jax.block_until_ready(overwrite(state))
    checkpoints.close()
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shape = jax.ShapeDtypeStruct((2048, 2048), jnp.float32, sharding=sharding)
    restored = RunCheckpoints(tmp_path).restore({"a": shape})
    np.testing.assert_array_equal(restored.state["a"], np.full((2048, 2048), 7.0))


def test_a_damaged_checkpoint_falls_back_and_says_so(tmp_path, capsys):
    saved(tmp_path, [1, 2])
    for file in (tmp_path / "2").rglob("*"):
        if file.is_file() and file.stat().st_size > 64:
            file.write_bytes(file.read_bytes()[:64])
    restored = RunCheckpoints(tmp_path).restore(abstract())
    assert restored.step == 1
    assert "step 2" in capsys.readouterr().err
    saved(tmp_path, [2])
    assert RunCheckpoints(tmp_path).restore(abstract()).step == 2


def damage(folder):
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")


def test_a_run_saves_again_before_the_step_that_was_damaged(tmp_path):
    """And a best that was among them is forgotten."""
    saved(tmp_path, [1, 5, 9, 10], keep=4, scores={5: 0.3, 10: 0.1})
    for step in (9, 10):
        damage(tmp_path / str(step))
    checkpoints = RunCheckpoints(tmp_path, keep=4)
    assert checkpoints.restore(abstract()).step == 5
    assert on_disk(tmp_path) == [1, 5]
    assert checkpoints.best == 5
    checkpoints.save(6, tree(6.0), {})
    checkpoints.judge(6, 0.2)
    assert checkpoints.best == 6
    checkpoints.close()
    restored = RunCheckpoints(tmp_path).restore(abstract())
    assert (restored.step, float(restored.state["a"][0, 0])) == (6, 6.0)


PROGRAM = """
import sys
import jax
from i2z_jax import cluster
from i2z_jax.checkpoint import RunCheckpoints
from i2z_jax.sharding import create_mesh, put, replicated
from tests.train.test_checkpoints import tree
cluster.join()
whole = replicated(create_mesh())
state = put(tree(6.0), whole)
abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), state
)
checkpoints = RunCheckpoints(sys.argv[1], keep=4)
if jax.process_index():  # it alone cannot read step 9
    read = checkpoints._checkpointer.load_checkpointables
    def load(step, wanted):
        found = read(step, wanted)
        if step == 9:
            raise OSError("a disk of its own")
        return found
    checkpoints._checkpointer.load_checkpointables = load
print(checkpoints.restore(abstract).step)
checkpoints.save(6, state, {"data": {}})
checkpoints.close()
"""


def test_processes_go_on_from_the_same_checkpoint(tmp_path):
    saved(tmp_path, [1, 5, 9], keep=4)
    for out, _ in finish_all(start_cluster("-c", PROGRAM, tmp_path, devices=1)):
        assert out.splitlines()[-1] == "5"
    assert on_disk(tmp_path) == [1, 5, 6]


SHARED = """
import sys
from pathlib import Path
import jax
import numpy as np
from i2z_jax import cluster, sharding
from i2z_jax.checkpoint import RunCheckpoints
from i2z_jax.sharding import create_mesh, from_every_process, parameter_shardings, put
from i2z_jax.train.loop import abstract
cluster.join()
sharding.LARGE = 2**16
rng = np.random.default_rng(0)
# Divided by fsdp along each axis; whole; of no axis that divides.
shapes = {"a": (1024, 512), "b": (512, 1024), "c": (4, 256, 512), "d": (65, 1025)}
drawn = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
state = put(drawn, parameter_shardings(drawn, create_mesh(fsdp=int(sys.argv[2]))))
folder = Path(sys.argv[1])
checkpoints = RunCheckpoints(folder)
for step in 1, 2:
    checkpoints.save(step, state, {})
checkpoints.wait()

def bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])

def restore(expected):
    from_every_process("ready")
    restored = checkpoints.restore(abstract(state))
    assert restored.step == expected
    for name, leaf in restored.state.items():
        assert leaf.sharding == state[name].sharding
        for shard in leaf.addressable_shards:
            np.testing.assert_array_equal(shard.data, drawn[name][shard.index])

before = bytes_read()
restore(2)
stored = sum(f.stat().st_size for f in (folder / "2").rglob("*") if f.is_file())
print((bytes_read() - before) / stored)
from_every_process("counted")
if jax.process_index():  # the other one reads none of this
    for file in (folder / "2").rglob("*process_1/d/*"):
        file.write_bytes(file.read_bytes()[:64])
restore(1)
checkpoints.close()
"""


@pytest.mark.parametrize("fsdp", [1, 2])
def test_processes_divide_the_reading_and_agree_on_damage(tmp_path, fsdp):
    for out, _ in finish_all(start_cluster("-c", SHARED, tmp_path, fsdp, devices=2)):
        # Half of them, and all of `d`, which does not divide.
        assert 0.4 < float(out.split()[-1]) < 0.6


def test_what_was_judged_is_known_to_the_next_process(tmp_path):
    saved(tmp_path, [1, 2], scores={1: 0.5, 2: None})
    (tmp_path / "2" / ".score.json.killed").mkdir()
    checkpoints = RunCheckpoints(tmp_path)
    assert checkpoints.restore(abstract()).step == 2
    assert checkpoints.judged == {1: 0.5, 2: None}
    assert checkpoints.scores == {1: 0.5}


def test_what_comes_later_is_dropped_with_its_score(tmp_path):
    saved(tmp_path, [4], scores={4: 0.5})
    checkpoints = RunCheckpoints(tmp_path)
    assert checkpoints.best == 4
    checkpoints.drop_after(2)
    assert checkpoints.best is None
    checkpoints.save(3, tree(3.0), {})
    checkpoints.close()
    assert on_disk(tmp_path) == [3]


def test_all_damaged_is_one_clear_line(tmp_path):
    saved(tmp_path, [1])
    for file in (tmp_path / "1").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint can be read"):
        RunCheckpoints(tmp_path).restore(abstract())


def test_a_checkpoint_of_another_network_says_what_differs(tmp_path):
    saved(tmp_path, [1, 2])
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    other = {
        "a": jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=device),
        "b": {"c": jax.ShapeDtypeStruct((3,), jnp.float32, sharding=device)},
    }
    with pytest.raises(InputError) as caught:
        RunCheckpoints(tmp_path).restore(other)
    for difference in (
        "a is (64, 64) where the model has (64, 32)",
        "n is too many",
        "no b.c",
        f"{tmp_path}/2",
    ):
        assert difference in str(caught.value)
