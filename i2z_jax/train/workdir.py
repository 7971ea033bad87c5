# SPDX-License-Identifier: Apache-2.0
"""The folder of one run: who holds it, its configuration, its metrics.

workdir/config.json     what the run was started with
workdir/frozen.json     hashes of the weights it reads and does not train
workdir/data.json       digests of the datasets it learns from
workdir/metrics.jsonl   one line a logged step; `log.py` has its neighbours
workdir/checkpoints/    written by `checkpoint/runs.py`
workdir/stopped         there if the run was asked to stop, and has steps left
workdir/.lock           held while a process trains here
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from i2z_jax.data.records import description
from i2z_jax.dataclass_json import to_json
from i2z_jax.errors import InputError
from i2z_jax.files import json_text, write_aside, writing
from i2z_jax.lock import locked
from i2z_jax.sharding import by_first_process, from_every_process, is_first_process
from i2z_jax.types import PyTree

# The folder of a run's checkpoints.
CHECKPOINTS = "checkpoints"
# Options that change nothing of what is learned: a run may go on with others, and on
# other devices; and places of datasets, which `remember_data` knows wherever they lie.
FREE = {
    *("workdir", "run.result", "run.workers", "run.fsdp"),
    *("run.loop.keep", "run.loop.profile_steps"),
    *("data", "capture", "video"),
}


@contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Keep a second run out of `workdir`. The lock goes with the process, even killed.

    Of several processes the first holds it; all of them fail if it cannot.

    Raises:
        InputError: another run trains here, or the folder cannot be written.
    """
    lock = locked(workdir, busy="another run is training here", option="--workdir")
    with by_first_process(lock):
        yield


def mark_stopped(workdir: Path, *, stopped: bool) -> None:
    """Say whether the run was asked to stop and has steps left, before any process goes
    on. After SIGTERM it exits 0, as one that has ended: what started it looks here.

    Raises:
        InputError: nothing can be written here.
    """
    with by_first_process(_marked(workdir / "stopped", stopped)):
        pass


@contextmanager
def _marked(path: Path, stopped: bool) -> Iterator[None]:
    with writing(path):
        if stopped:
            path.touch()
        else:
            path.unlink(missing_ok=True)
    yield


def has_checkpoint(workdir: Path) -> bool:
    """Whether a run has saved here, so that the next one goes on; to every process."""
    # Not what a killed one was writing: `500.orbax-checkpoint-tmp`.
    whole = [p.name for p in (workdir / CHECKPOINTS).glob("*") if p.name.isdigit()]
    return bool(from_every_process(" ".join(whole))[0])


def remember_config(workdir: Path, config: Any) -> None:
    """Write the configuration of a new run; compare that of a resumed one, but for
    what is `FREE`.

    A run that never saved has nothing to protect: its configuration is replaced.

    Raises:
        InputError: the workdir belongs to a run with another configuration, or the
            processes of this one were started with different ones; the fields that
            differ are named.
    """
    differs, path = _remember(workdir / "config.json", to_json(config), free=FREE)
    if differs:
        raise InputError(
            f"this run was started differently: {differs}",
            where=path,
            fix="repeat its options to go on with it, or choose another --workdir",
        )


def remember_data(workdir: Path, datasets: Mapping[str, Path | None]) -> None:
    """Write which datasets a new run learns from; compare those of a resumed one: the
    next batch is a place in them.

    Args:
        datasets: name -> where it was built or moved to; None if there is none.

    Raises:
        InputError: they are not those of the run, or not the same in all processes;
            one is not built, or by a version that gave it no digest.
    """
    digests = {}
    for name, directory in datasets.items():
        if directory is not None:
            digests[name] = description(directory, name).get("digest")
            if digests[name] is None:
                raise InputError(
                    "a dataset without a digest",
                    where=directory,
                    fix="build it again with --overwrite",
                )
    differs, path = _remember(workdir / "data.json", digests)
    if differs:
        raise InputError(
            f"the datasets are not those of this run: {differs}",
            where=path,
            fix="give the data it was started with, or choose another --workdir",
        )


def remember_frozen(workdir: Path, lasting: Mapping[str, PyTree]) -> None:
    """Write the hash of every array that a new run reads and does not train.

    They are no part of any checkpoint: the model folders they came from hold them, and
    so does the result. A resumed run must be given the same ones.

    Args:
        lasting: of the stage. Not caches of features, which follow from the networks to
            a bit that depends on the devices: a run may go on elsewhere.

    Raises:
        InputError: they are not those of the run, or not the same in all processes.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(lasting)
    hashes = {
        jax.tree_util.keystr(path, simple=True, separator="."): hashlib.sha256(
            np.ascontiguousarray(leaf).data
        ).hexdigest()[:16]
        for path, leaf in leaves
    }
    differs, path = _remember(workdir / "frozen.json", hashes)
    if differs:
        raise InputError(
            f"the frozen weights are not those of this run: {differs}",
            where=path,
            fix="give the models it was started with, or choose another --workdir",
        )


def _remember(
    path: Path, content: Any, free: AbstractSet[str] = frozenset()
) -> tuple[str, Path]:
    """Write JSON if the run is new; how it differs from what is there or, if the
    processes do not agree, from what the first one has."""
    text = json_text(content, indent=2) + "\n"
    now = _flat(json.loads(text))  # as it is read: a tuple is a list, inf is None
    texts = from_every_process(text)
    for index, other in enumerate(texts):
        differs = _differences(_flat(json.loads(texts[0])), _flat(json.loads(other)))
        if differs:
            raise InputError(
                f"processes 0 and {index} of this run were started differently: "
                f"{differs}",
                where=path.name,
                fix="start every process with the same command and files, of datasets "
                "with copies of one build",
            )
    # One looks, for all: the others might look when it has written already. A run that
    # never saved has nothing to go on with: what it remembered is replaced.
    saved = has_checkpoint(path.parent)
    before, *_ = from_every_process(
        path.read_text() if is_first_process() and saved and path.exists() else ""
    )
    if before:
        return _differences(_flat(json.loads(before)), now, free), path
    if is_first_process():
        with write_aside(path, overwrite=True) as aside:
            aside.write_text(text)
    return "", path


def _differences(
    before: dict[str, Any], now: dict[str, Any], free: AbstractSet[str] = frozenset()
) -> str:
    differs = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted((before.keys() | now.keys()) - free)
        if not _same(before.get(name), now.get(name))
    ]
    more = f"; and {len(differs) - 8} more" if len(differs) > 8 else ""
    return "; ".join(differs[:8]) + more


def _same(one: Any, other: Any) -> bool:
    """Whether two options are alike; a path is the file that it leads to."""
    if isinstance(one, str) and isinstance(other, str):
        one, other = os.path.realpath(one), os.path.realpath(other)
    return one == other


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{name}.{key}".lstrip("."))
    return flat
