# SPDX-License-Identifier: Apache-2.0
"""The guard: what it holds out, whom it lets win, and when it ends a run."""

import re

import numpy as np
import pytest

from i2z_jax.errors import InputError
from i2z_jax.train.guard import Guard, check_share, judged_frames

SOUND = {
    "score": 1.0,
    "z_spread": 0.5,
    "visible": 0.4,
    "texture_range": 0.2,
    "landmarks": 3.0,
}


def guard_of(tmp_path, *entries):
    guard = Guard(tmp_path)
    for step, changes in enumerate(entries):
        guard.record(step * 50, {**SOUND, **changes})
    return guard


@pytest.mark.parametrize("frames", [10, 20, 90, 301, 5000])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_held_out_frames_are_runs_of_the_share_asked_for(frames, share):
    out = judged_frames(frames, share)
    edges = np.flatnonzero(np.diff(np.r_[0, out.astype(int), 0]))
    lengths = edges[1::2] - edges[::2]
    assert abs(out.sum() - frames * share) <= 2.5
    assert len(lengths) <= 5
    assert (lengths >= 2).all()
    assert not out[0]
    assert not out[-1]


@pytest.mark.parametrize("share", [-0.5, 0.0, 0.51, 3.0, float("nan")])
def test_a_share_that_leaves_one_side_too_little_is_refused(share):
    with pytest.raises(InputError, match="--held-out: out of range"):
        check_share(share)


def test_a_run_that_went_back_is_judged_by_what_it_does_now(tmp_path):
    """Its later checkpoints were damaged, and on other devices it collapses sooner."""
    guard_of(tmp_path, {}, {"score": 0.8}, {"score": 0.7}, {"score": 0.6})
    guard = Guard(tmp_path)
    guard.record(100, {**SOUND, "score": float("nan")})
    assert guard.first_collapse is not None
    for known in (guard, Guard(tmp_path)):
        assert sorted(known.history) == [0, 50, 100]
        assert known.best == 50


def test_the_lowest_score_wins(tmp_path):
    guard = guard_of(tmp_path, {}, {"score": 0.8}, {"score": 0.6}, {"score": 0.7})
    assert guard.best == 100


@pytest.mark.parametrize(
    "later", [[], [1.0], [1.2, 1.1], [0.995], [float("nan"), 1.1]], ids=str
)
def test_before_wins_unless_something_is_clearly_better(tmp_path, later):
    guard = guard_of(tmp_path, {}, *({"score": score} for score in later))
    assert guard.best == 0
    assert Guard(tmp_path).best == 0
    assert Guard(tmp_path).first_collapse == guard.first_collapse
    assert "NaN" not in (tmp_path / "guard.json").read_text()


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("z_spread", 0.1),
        ("visible", 0.2),
        ("texture_range", 0.1),
        ("landmarks", 4.5),
        ("score", float("nan")),
    ],
)
def test_a_collapse_never_wins_and_is_explained(tmp_path, figure, value):
    collapsed = {"score": 0.1, figure: value}
    guard = guard_of(tmp_path, {}, {"score": 0.9}, collapsed)
    assert guard.collapse(50) is None
    assert re.match(f"step 100: .*{figure}", guard.first_collapse or "")
    assert guard.best == 50


def test_a_resumed_run_remembers(tmp_path):
    guard_of(tmp_path, {}, {"score": 0.8}, {"score": 0.5, "visible": 0.0})
    again = Guard(tmp_path)
    assert again.best == 50
    assert again.before == SOUND
    assert again.first_collapse is not None
