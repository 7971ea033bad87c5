# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a training run: the newest, and the best by a held-out figure."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
from orbax.checkpoint import v1 as ocp

from i2z_jax import console, stopping
from i2z_jax.checkpoint.models import named, refuse_other_arrays
from i2z_jax.errors import InputError, first_line
from i2z_jax.files import write_json
from i2z_jax.sharding import from_every_process, is_first_process, placed, shares

# In the folder of a step, beside what Orbax writes.
SCORE = "score.json"
# What Orbax raises when files are damaged.
_DAMAGED = (ValueError, OSError, KeyError)


class Restored(NamedTuple):
    """What a run goes on from."""

    step: int
    state: Any
    # JSON facts saved with the state: the data iterator's position.
    extras: dict[str, Any]


class RunCheckpoints:
    """The checkpoints of one training run, written in the background.

    A step's folder appears when it is whole; what a killed process was writing is
    swept away by the next one. Every process of a run makes one of these and calls it
    at the same steps.

    A checkpoint is written before it is judged, and its score is kept in its folder: a
    run that was killed while it judged does so again, and keeps the same best.

    Args:
        directory: `WORKDIR/checkpoints`.
        keep: how many of the newest stay on disk; the best stays beside them.

    Attributes:
        judged: steps on disk that have been judged: their score, less is better,
            or None where there was nothing to compare.
    """

    def __init__(self, directory: str | Path, *, keep: int = 2):
        self._directory = Path(directory).absolute()
        self._checkpointer = ocp.training.Checkpointer(
            self._directory,
            preservation_policy=_NewestAndBest(self, keep),
            cleanup_tmp_directories=True,
        )
        found = {step: self._score(step) for step in self._steps()}
        self.judged: dict[int, float | None] = {
            step: content["score"] for step, content in found.items() if content
        }

    @property
    def scores(self) -> dict[int, float]:
        """Scores, of the steps that have one."""
        return {step: score for step, score in self.judged.items() if score is not None}

    @property
    def best(self) -> int | None:
        """The step of the lowest score, the first of equals; None without scores."""
        scores = self.scores
        return min(scores, key=lambda step: (scores[step], step), default=None)

    def save(self, step: int, state: Any, extras: dict[str, Any]) -> None:
        """Save a tree of arrays and JSON facts; returns when `state` may be donated.

        Args:
            step: later than any on disk (`drop_after`).

        Raises:
            InputError: this save, or the one before that ran in the background,
                could not be written.
        """
        with self._writing():
            self._checkpointer.wait()
            accepted = self._checkpointer.save_checkpointables_async(
                step, {"state": state}, custom_metadata={"extras": extras}
            )
        # Orbax silently leaves out a step before its latest.
        assert accepted is not None

    def judge(self, step: int, score: float | None) -> None:
        """Note the score of the step that was saved last, once it is whole.

        Args:
            score: finite, less is better; None if it is never to be the best.

        Raises:
            InputError: that step, or this, cannot be written.
        """
        self.wait()
        if is_first_process():
            # Not Orbax's `metrics`: a damaged file of theirs closes the folder.
            write_json(self._directory / str(step) / SCORE, {"score": score})
        from_every_process("written")  # before another one looks
        self.judged[step] = score

    def drop_after(self, step: int) -> None:
        """Remove the checkpoints of later steps: a run at `step` is to write them.

        Raises:
            InputError: they cannot be removed.
        """
        for later in self._steps():
            if later > step:
                self.judged.pop(later, None)
                with self._writing():
                    self._checkpointer.delete(later)

    def restore(self, abstract: Any) -> Restored | None:
        """The newest readable checkpoint, on the devices `abstract` names; or None.

        Newer ones, which cannot be read, are removed: the run comes to them again.

        Args:
            abstract: the tree of the state as `jax.ShapeDtypeStruct`s with shardings.
                A checkpoint from any number of devices fits.

        Raises:
            InputError: there are checkpoints, and none can be read; or one can, and is
                of another tree than `abstract`: what differs is listed.
        """
        restored = self._first_readable(sorted(self._steps(), reverse=True), abstract)
        if restored is not None:
            self.drop_after(restored.step)
        return restored

    def restore_best(self, abstract: Any) -> Restored | None:
        """The readable checkpoint of the lowest score; None if none has one.

        Raises:
            InputError: as `restore`.
        """
        scores = self.scores
        order = sorted(self._steps() & scores.keys(), key=lambda s: (scores[s], s))
        return self._first_readable(order, abstract)

    def _first_readable(self, steps: Iterable[int], abstract: Any) -> Restored | None:
        failures = []
        # Not Orbax's own load-and-broadcast: where a file is damaged, the processes
        # that wait for the one which reads it wait for ever.
        parts = shares(abstract)
        for step in steps:
            restored, problem = self._read(step, parts)
            # What one process cannot read is no checkpoint for the others either.
            problem = next(filter(None, from_every_process(problem)), "")
            if restored is not None and not problem:
                return restored._replace(state=placed(restored.state, abstract))
            self.judged.pop(step, None)
            failures.append(f"step {step}: {problem}")
            console.err.print(f"checkpoint not readable, {failures[-1]}")
        if failures:
            raise InputError(
                f"no checkpoint can be read ({'; '.join(failures)})",
                where=self._directory,
                fix="give another --workdir to start anew",
            )
        return None

    def _read(self, step: int, abstract: Any) -> tuple[Restored | None, str]:
        """A checkpoint, or what is wrong with it."""
        try:
            with stopping.later(), _alone():
                stored = self._checkpointer.load_checkpointables(
                    step, {"state": abstract}
                )
                facts = self._checkpointer.metadata(step).custom_metadata or {}
            return Restored(step, stored["state"], facts["extras"]), ""
        except _DAMAGED as error:
            self._refuse_another_tree(step, abstract)
            return None, first_line(error)[:120]

    def _steps(self) -> set[int]:
        return {entry.step for entry in self._checkpointer.checkpoints}

    def _score(self, step: int) -> dict[str, float | None]:
        """What was said of it; empty if nothing was, or it is damaged."""
        try:
            return json.loads((self._directory / str(step) / SCORE).read_text())
        except _DAMAGED:
            return {}

    def _refuse_another_tree(self, step: int, abstract: Any) -> None:
        try:
            stored = self._checkpointer.metadata(step).metadata
        except _DAMAGED:
            return
        if not stored:
            return
        refuse_other_arrays(
            named(stored),
            named(abstract),
            where=self._directory / str(step),
            what="the checkpoint is of another network or optimiser",
        )

    def wait(self) -> None:
        """Wait for background writes.

        Raises:
            InputError: one failed.
        """
        with self._writing():
            self._checkpointer.wait()

    def close(self) -> None:
        """Wait, and let go of the folder."""
        with self._writing():
            self._checkpointer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise InputError(
                f"checkpoint cannot be written ({first_line(error)})",
                where=self._directory,
                fix="free disk space; the run goes on from its last whole checkpoint",
            ) from error


def _alone() -> ocp.Context:
    """Reading without waiting for the other processes.

    By itself Orbax would have them meet when all have read: one that cannot read never
    comes.
    """
    context, index = ocp.Context(), jax.process_index()
    context.multiprocessing_options.primary_host = index
    context.multiprocessing_options.active_processes = {index}
    context.multiprocessing_options.barrier_sync_key_prefix = f"alone{index}"
    return context


class _NewestAndBest:
    """Orbax's preservation policy: `LatestN`, and the best so far."""

    def __init__(self, run: RunCheckpoints, keep: int):
        self._run, self._keep = run, keep

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any):
        del context
        newest = {entry.step for entry in checkpoints[-self._keep :]}
        return [e.step in newest or e.step == self._run.best for e in checkpoints]
