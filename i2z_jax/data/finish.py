# SPDX-License-Identifier: Apache-2.0
"""What every build shares: its work folder, and `dataset.json` at the end.

A dataset is made in the work folder, beside what was built before, and takes that one's
place when it is whole. `dataset.json` is moved last: a dataset without it is none, and
`records.open_split` refuses it. The same command goes on with an unfinished build.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import i2z_jax
from i2z_jax.data import records
from i2z_jax.data.build_options import BuildOptions
from i2z_jax.data.shards import Shard
from i2z_jax.errors import InputError
from i2z_jax.files import write_aside
from i2z_jax.lock import locked
from i2z_jax.wording import counted


@dataclass(frozen=True)
class Summary:
    """A finished build: of what, how many records, and what is missing from it."""

    name: str
    counts: Mapping[str, Mapping[str, int]]
    gaps: Sequence[str]


@contextmanager
def work_folder(out: Path, name: str, options: BuildOptions) -> Iterator[Path]:
    """A place for finished shards and for the dataset, in a folder `name`.

    When the build ends well, the dataset is moved to `out` and the rest removed; else
    all stays here for the next call, and what `out` has stays, too.

    Raises:
        InputError: the dataset is there already and `overwrite` is off, or another
            build is at work.
    """
    whole = out / name / records.DESCRIPTION
    if whole.exists() and not options.overwrite:
        raise InputError(
            "already built", where=out / name, fix="another --out, or --overwrite"
        )
    work = out / f".{name}.unfinished"
    with locked(work, busy="another build is running here", option="--out"):
        made = work / name
        # Of a build that ended between shards and dataset.
        shutil.rmtree(made, ignore_errors=True)
        yield work
        # Moved, not removed: that takes no time, and who reads the old one goes on.
        replaced = Path(tempfile.mkdtemp(prefix="replaced.", dir=work))
        whole.parent.mkdir(exist_ok=True)
        if whole.exists():
            os.rename(whole, replaced / whole.name)
        for part in sorted(made.iterdir(), key=lambda p: p.name == whole.name):
            old = whole.parent / part.name
            if old.exists():
                os.rename(old, replaced / part.name)
            os.rename(part, old)
    shutil.rmtree(work, ignore_errors=True)


def finish(
    out: Path,
    name: str,
    sources: Sequence[Path],
    options: Sequence[Any],
    counts: Mapping[str, Mapping[str, int]],
    shards: Sequence[Shard],
    gaps: Sequence[str],
    made_of: str | None = None,
) -> Summary:
    """Write `dataset.json` beside the records: from now on the dataset is whole.

    Args:
        out: holds the dataset's folder `name`.
        options: the dataclasses of options it was built with.
        counts: config ("" if there is one only) -> split -> number of records.
        shards: of all configs and splits.
        made_of: tells the versions of the files that were read from others.

    Raises:
        InputError: a config has not one record, as the views of a capture whose
            pictures are elsewhere.
    """
    if not all(sum(splits.values()) for splits in counts.values()):
        # The last is of an item; the first may be a remark on the whole.
        reason = (
            f"{counted(len(gaps), 'gap')}, the last: {gaps[-1]}"
            if gaps
            else "nothing to read"
        )
        raise InputError("nothing could be built", where=sources[0], got=reason)
    with write_aside(out / name / records.DESCRIPTION) as path:
        path.write_text(
            json.dumps(
                {
                    "name": name,
                    "version": records.VERSIONS[name],
                    "i2z_jax": i2z_jax.__version__,
                    "sources": [str(source) for source in sources],
                    "options": {
                        k: v for each in options for k, v in asdict(each).items()
                    },
                    "made_of": made_of,
                    "digest": _digest(out / name, shards),
                    "splits": counts,
                    "gaps": list(gaps),
                },
                indent=1,
                default=str,
            )
        )
    return Summary(name, counts, gaps)


def _digest(folder: Path, shards: Sequence[Shard]) -> str:
    """What tells these records, and the meshes and cameras they are of, from others."""
    digest = hashlib.sha256("".join(shard.digest for shard in shards).encode())
    for path in sorted(p for p in (folder / "sources").rglob("*") if p.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
