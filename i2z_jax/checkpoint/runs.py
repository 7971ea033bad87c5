# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a training run: the newest, and the best by a held-out figure."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orbax.checkpoint import v1 as ocp

from i2z_jax import console
from i2z_jax.checkpoint.models import named, refuse_other_arrays
from i2z_jax.errors import InputError
from i2z_jax.sharding import from_every_process

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

    Which one is the best follows from what is on disk, so a run that was killed and
    repeats its steps keeps the same one.

    Args:
        directory: `WORKDIR/checkpoints`.
        keep: how many of the newest stay on disk; the best stays beside them.

    Attributes:
        scores: of the steps that were saved with one; less is better.
    """

    def __init__(self, directory: str | Path, *, keep: int = 2):
        self._directory = Path(directory).absolute()
        self.scores: dict[int, float] = {}
        self._checkpointer = ocp.training.Checkpointer(
            self._directory,
            preservation_policy=_NewestAndBest(self, keep),
            cleanup_tmp_directories=True,
        )
        for entry in self._checkpointer.checkpoints:
            score = self._facts(entry.step).get("score")
            if score is not None:
                self.scores[entry.step] = score

    @property
    def best(self) -> int | None:
        """The step of the lowest score, the first of equals; None without scores."""
        return min(self.scores, key=lambda s: (self.scores[s], s), default=None)

    def save(
        self,
        step: int,
        state: Any,
        extras: dict[str, Any],
        *,
        score: float | None = None,
    ) -> None:
        """Save a tree of arrays and JSON facts; returns when `state` may be donated.

        Args:
            score: finite; less is better. A state without one is never the best.

        Raises:
            InputError: this save, or the one before that ran in the background,
                could not be written; or there are checkpoints of later steps, of which
                `drop_after` knows.
        """
        try:
            self._checkpointer.wait()
            accepted = self._checkpointer.save_checkpointables_async(
                step,
                {"state": state},
                # Not Orbax's `metrics`: a damaged file of theirs closes the folder.
                custom_metadata={"extras": extras, "score": score},
                overwrite=True,
            )
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error
        if accepted is None:  # Orbax does not save before its latest step
            latest = self._checkpointer.latest
            raise InputError(
                f"no checkpoint of step {step} was written",
                where=self._directory,
                got=f"one of step {latest.step}" if latest else None,
                fix="remove it, or give another --workdir",
            )
        if score is not None:
            self.scores[step] = score

    def drop_after(self, step: int) -> None:
        """Remove the checkpoints of later steps: a run at `step` is to write them.

        Raises:
            InputError: they cannot be removed.
        """
        for later in self._steps():
            if later > step:
                self.scores.pop(later, None)
                try:
                    self._checkpointer.delete(later)
                except (OSError, ValueError) as error:
                    raise self._unwritable(error) from error

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
        scored = self._steps() & self.scores.keys()
        order = sorted(scored, key=lambda step: (self.scores[step], step))
        return self._first_readable(order, abstract)

    def _first_readable(self, steps: Iterable[int], abstract: Any) -> Restored | None:
        failures = []
        for step in steps:
            restored, problem = self._read(step, abstract)
            # What one process cannot read is no checkpoint for the others either.
            problem = next(filter(None, from_every_process(problem)), "")
            if not problem:
                return restored
            self.scores.pop(step, None)
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
            stored = self._checkpointer.load_checkpointables(step, {"state": abstract})
            return Restored(step, stored["state"], self._facts(step)["extras"]), ""
        except _DAMAGED as error:
            self._refuse_another_tree(step, abstract)
            return None, str(error)[:120] or type(error).__name__

    def _steps(self) -> set[int]:
        return {entry.step for entry in self._checkpointer.checkpoints}

    def _facts(self, step: int) -> dict[str, Any]:
        """What was saved beside the arrays; empty if it is damaged."""
        try:
            return dict(self._checkpointer.metadata(step).custom_metadata or {})
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
        """For what is being written.

        Raises:
            InputError: it could not be.
        """
        try:
            self._checkpointer.wait()
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Wait, and let go of the folder."""
        try:
            self._checkpointer.close()
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> InputError:
        return InputError(
            f"checkpoint cannot be written ({str(error).splitlines()[0]})",
            where=self._directory,
            fix="free disk space; the run goes on from its last whole checkpoint",
        )


class _NewestAndBest:
    """Orbax's preservation policy: `LatestN`, and the best so far."""

    def __init__(self, run: RunCheckpoints, keep: int):
        self._run, self._keep = run, keep

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any):
        del context
        newest = {entry.step for entry in checkpoints[-self._keep :]}
        return [e.step in newest or e.step == self._run.best for e in checkpoints]
