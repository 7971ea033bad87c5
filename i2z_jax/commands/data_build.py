# SPDX-License-Identifier: Apache-2.0
"""`i2z data build`: files on disk -> records that training reads."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from i2z_jax import console
from i2z_jax.data.build_options import (
    BuildOptions,
    MonocularOptions,
    MultiviewOptions,
)
from i2z_jax.data.workers import core_count
from i2z_jax.errors import InputError, require_at_least
from i2z_jax.wording import counted

# Lines of gaps that are printed; `dataset.json` has them all.
SHOWN_GAPS = 12

Options = TypeVar("Options", BuildOptions, MultiviewOptions, MonocularOptions)


# Dataclass fields without a default must come first.
@dataclass(frozen=True)
class Places:
    """Required options."""

    # Folder (or video) to read. Repeat it for several videos or 300-W folders.
    source: tyro.conf.UseAppendAction[tuple[Path, ...]]
    # The dataset goes to OUT/NAME. Several datasets may share one OUT.
    out: Path


@dataclass(frozen=True)
class Common(BuildOptions, Places):
    """What every dataset takes."""

    # Processes (threads for one video). Default: all cores.
    workers: int = field(default_factory=core_count)


@dataclass(frozen=True)
class MultiviewCapture(MultiviewOptions, Common):
    """A capture in Multiface layout, real or synthetic (`i2z synth capture`)."""


@dataclass(frozen=True)
class Ibug300W(Common):
    """300-W landmarks, real or synthetic (`i2z synth landmarks`)."""


@dataclass(frozen=True)
class MonocularVideo(MonocularOptions, Common):
    """Videos (mp4, mov, webm, mkv, avi, mts, gif, ...) or folders of frames of one
    person."""

    # png is lossless and about four times as large.
    codec: Annotated[Literal["png", "jpeg"], tyro.conf.arg(name="image-codec")] = "jpeg"


Dataset = (
    Annotated[MultiviewCapture, tyro.conf.subcommand("multiview_capture")]
    | Annotated[Ibug300W, tyro.conf.subcommand("ibug_300w")]
    | Annotated[MonocularVideo, tyro.conf.subcommand("monocular_video")]
)


@dataclass(frozen=True)
class Config:
    """Build a dataset: ArrayRecord shards that `i2z train` and `i2z adapt` read.

    An interrupted build goes on where it stopped when the same command is given again.
    """

    dataset: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[Dataset]]


def run(config: Config) -> None:
    """Build, then say how much there is and what is missing."""
    from i2z_jax.data import build_ibug, build_multiview, build_video
    from i2z_jax.data.check import require_no_archive
    from i2z_jax.data.records import DESCRIPTION

    chosen = config.dataset
    if not chosen.source:
        raise InputError("nothing to build from", fix="give --source DIR")
    for source in chosen.source:
        require_no_archive(source)
        _require_outside(source, chosen.out)
    once = {os.path.realpath(source): source for source in chosen.source}
    if len(once) < len(chosen.source):
        raise InputError(
            "the same --source twice",
            expected=", ".join(map(str, once.values())),
            got=", ".join(map(str, chosen.source)),
        )
    sizes = ("workers", "max_frames", "crop_size", "texture_size")
    require_at_least(chosen, {name: 1 for name in sizes if hasattr(chosen, name)})
    shared = _part(BuildOptions, chosen)
    start = time.monotonic()
    match chosen:
        case MultiviewCapture():
            options = _part(MultiviewOptions, chosen)
            built = build_multiview.build(chosen.source, chosen.out, shared, options)
            _say_what_is_held_out(built.counts["views"], options)
        case Ibug300W():
            built = build_ibug.build(chosen.source, chosen.out, shared)
        case MonocularVideo():
            options = _part(MonocularOptions, chosen)
            built = build_video.build(chosen.source, chosen.out, shared, options)
    seconds = time.monotonic() - start
    for config_name, splits in built.counts.items():
        counts = ", ".join(f"{split} {count}" for split, count in splits.items())
        console.out.print(f"{config_name or 'records'}: {counts}")
    folder = chosen.out / built.name
    for gap in built.gaps[:SHOWN_GAPS]:
        console.out.print(f"  missing: {gap}")
    if len(built.gaps) > SHOWN_GAPS:
        rest = len(built.gaps) - SHOWN_GAPS
        console.out.print(f"  and {rest} more, see {folder / DESCRIPTION}")
    console.out.print(
        f"{folder}: built in {seconds:.1f} s, {counted(len(built.gaps), 'gap')}"
    )


def _require_outside(source: Path, out: Path) -> None:
    """Keep the dataset out of the folder it is made of, which would be taken for it.

    Raises:
        InputError: it would lie there.
    """
    whole, place = (Path(os.path.realpath(path)) for path in (source, out))
    if whole.is_dir() and place.is_relative_to(whole):
        raise InputError(
            "is the source" if place == whole else "is inside the source",
            where=out,
            expected="another folder for the dataset",
            fix="choose an --out beside it",
        )


def _say_what_is_held_out(views: Mapping[str, int], options: MultiviewOptions) -> None:
    if not any(count for split, count in views.items() if split != "train"):
        console.err.print(
            f"nothing is held out: no segment is {' or '.join(options.test_segments)}, "
            "and no camera was named; see --test-segments and --test-cameras"
        )


def _part(kind: type[Options], chosen: Any) -> Options:
    """What a build is told, without what only the command line knows."""
    return kind(**{f.name: getattr(chosen, f.name) for f in fields(kind)})
