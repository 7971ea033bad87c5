# SPDX-License-Identifier: Apache-2.0
"""The dataset that `i2z adapt` makes of a video file, beside its run."""

from dataclasses import replace
from pathlib import Path

import jax

from i2z_jax import console
from i2z_jax.data import build_video, records
from i2z_jax.data.build_options import BuildOptions, MonocularOptions
from i2z_jax.data.workers import core_count
from i2z_jax.errors import InputError
from i2z_jax.train.workdir import has_checkpoint
from i2z_jax.wording import counted


def built_video(
    video: Path, workdir: Path, *, boxes: Path | None = None, crop_size: int
) -> Path:
    """The built dataset of a video: itself, or WORKDIR/video made from a file.

    What an earlier start made there of another video, of an edited one or with other
    boxes is built again.

    Args:
        video: a built `monocular_video`, a video file or a folder of frames.
        workdir: of the run.
        boxes: of the face, for what is built.
        crop_size: px, the side that the network reads.

    Raises:
        InputError: no video; boxes for what is built already; a run has begun with
            another version of the file; on several hosts, a file.
    """
    try:
        records.folder(video, records.VIDEO)
    except InputError:
        pass
    else:
        if boxes is not None:
            raise InputError(
                "the video is built already, with boxes of its own",
                where="--boxes",
                got=boxes,
                fix="leave it out, or give the video file itself",
            )
        return video
    out = workdir / "video"
    options = BuildOptions(workers=core_count())
    crops = MonocularOptions(crop_size=crop_size, boxes=boxes)
    if build_video.is_current((video,), out, options, crops):
        return out
    if has_checkpoint(workdir):
        raise InputError(
            "the video or its boxes are not what this run began with",
            where=video,
            fix="choose another --workdir",
        )
    if jax.process_count() > 1:
        raise InputError(
            "several hosts cannot build one video",
            where=video,
            fix="`i2z data build monocular_video` first, and give its --out",
        )
    stale = (out / records.VIDEO / records.DESCRIPTION).exists()
    options = replace(options, overwrite=stale)
    summary = build_video.build((video,), out, options, crops)
    if summary.gaps:
        gaps = counted(len(summary.gaps), "gap")
        console.err.print(f"{gaps}, the first: {summary.gaps[0]}")
    return out
