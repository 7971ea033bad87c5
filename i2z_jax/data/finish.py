# SPDX-License-Identifier: Apache-2.0
"""What every build shares: its work folder, and `dataset.json` at the end.

`dataset.json` is written last. A folder without it is an unfinished build, which the
same command goes on with and `records.open_split` refuses.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import i2z_jax
from i2z_jax.data import records
from i2z_jax.data.build_options import BuildOptions
from i2z_jax.errors import InputError
from i2z_jax.files import write_aside
from i2z_jax.lock import LOCK, locked


@dataclass(frozen=True)
class Summary:
    """A finished build: where it is, how many records, what is missing from it."""

    folder: Path
    counts: Mapping[str, Mapping[str, int]]
    gaps: Sequence[str]


@contextmanager
def work_folder(out: Path, name: str, options: BuildOptions) -> Iterator[Path]:
    """A place for finished shards; removed when the build ends well, kept otherwise.

    With `overwrite`, what an earlier build left in it is removed first.

    Raises:
        InputError: the dataset is there already and `overwrite` is off, or another
            build is at work.
    """
    whole = out / name / "dataset.json"
    if whole.exists() and not options.overwrite:
        raise InputError(
            "already built", where=out / name, fix="another --out, or --overwrite"
        )
    work = out / f".{name}.unfinished"
    with locked(work, busy="another build is running here", option="--out"):
        if options.overwrite:
            whole.unlink(missing_ok=True)
            for left in work.iterdir():
                if left.is_dir():
                    shutil.rmtree(left)
                elif left.name != LOCK:
                    left.unlink()
        yield work
    shutil.rmtree(work)


def finish(
    out: Path,
    name: str,
    sources: Sequence[Path],
    options: Sequence[Any],
    counts: Mapping[str, Mapping[str, int]],
    gaps: Sequence[str],
    made_of: str | None = None,
) -> Summary:
    """Write `dataset.json`: from now on the dataset counts as built.

    Args:
        options: the dataclasses of options it was built with.
        counts: config ("" if there is one only) -> split -> number of records.
        made_of: tells the versions of the files that were read from others.

    Raises:
        InputError: a config has not one record, as the views of a capture whose
            pictures are elsewhere.
    """
    if not all(sum(splits.values()) for splits in counts.values()):
        reason = f"the first of {len(gaps)}: {gaps[0]}" if gaps else "nothing to read"
        raise InputError("nothing could be built", where=sources[0], got=reason)
    with write_aside(out / name / "dataset.json") as path:
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
                    "splits": counts,
                    "gaps": list(gaps),
                },
                indent=1,
                default=str,
            )
        )
    return Summary(out / name, counts, gaps)
