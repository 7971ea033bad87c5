# SPDX-License-Identifier: Apache-2.0
"""`i2z data build`: files on disk -> records that training reads."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from i2z_jax import console
from i2z_jax.errors import InputError

# Lines of gaps that are printed; `dataset.json` has them all.
SHOWN_GAPS = 12


@dataclass(frozen=True)
class Common:
    """What every dataset takes."""

    # Folder (or video) to read. Repeat it for several subjects or videos.
    source: tyro.conf.UseAppendAction[tuple[Path, ...]]
    # The dataset goes to OUT/NAME. Several datasets may share one OUT.
    out: Path
    # Processes (threads for one video). Default: all cores.
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    # Fail on the first thing that is missing, instead of counting it.
    strict: bool = False
    # Replace a dataset that is there, and keep nothing of an interrupted build.
    overwrite: bool = False
    # At most this many frames: of a capture spread over it, of a video its first,
    # of each 300-W split its first pictures.
    max_frames: int | None = None


@dataclass(frozen=True)
class MultiviewCapture(Common):
    """A capture in Multiface layout, real or synthetic (`i2z synth capture`)."""

    # Side of the face crops, pixels.
    crop_size: int = 256
    # Side of the textures, texels; smaller ones stay as they are.
    texture_size: int = 1024
    # Store the texture unwrapped from each camera. Without, training unwraps on the
    # device, and a view takes about a tenth of the space.
    view_textures: bool = True
    # png is lossless and about four times as large.
    image_codec: Literal["png", "jpeg"] = "jpeg"
    # docs/data.md has what each costs in space and time.
    texture_codec: Literal["png", "jpeg", "webp"] = "jpeg"
    # Segments to build: names or patterns such as 'E0*'.
    segments: tuple[str, ...] = ("*",)
    # Cameras to build: names or patterns such as '4000*'.
    cameras: tuple[str, ...] = ("*",)
    # Segments held out for split `test`.
    test_segments: tuple[str, ...] = ("EXP_ROM*", "EXP_free_face*")
    # Cameras held out for splits `camera` and `test_camera`.
    test_cameras: tuple[str, ...] = ()
    # Faces, UVs and landmarks of the mesh (.obj or .npz), where the capture has neither
    # a topology.npz nor an .obj.
    topology: Path | None = None


@dataclass(frozen=True)
class Ibug300W(Common):
    """300-W landmarks, real or synthetic (`i2z synth landmarks`)."""


@dataclass(frozen=True)
class MonocularVideo(Common):
    """Videos (mp4, mov, webm, gif) or folders of frames of one person."""

    # Side of the face crops, pixels.
    crop_size: int = 256
    # png is lossless and about four times as large.
    image_codec: Literal["png", "jpeg"] = "jpeg"
    # Boxes or landmarks for each frame, instead of the detector: .npz with `boxes`
    # (frames x 4) or `landmarks` (frames x 68 x 2), or .csv with the columns
    # frame,left,top,right,bottom. Pixels.
    boxes: Path | None = None


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
    from i2z_jax.data.finish import BuildOptions

    chosen = config.dataset
    if not chosen.source:
        raise InputError("nothing to build from", fix="give --source DIR")
    for source in chosen.source:
        require_no_archive(source)
    for option in ("workers", "max_frames", "crop_size", "texture_size"):
        value = getattr(chosen, option, None)
        if value is not None and value < 1:
            raise InputError(
                "not a size", where=f"--{option}", expected="1 or more", got=value
            )
    shared = BuildOptions(
        chosen.workers, chosen.strict, chosen.overwrite, chosen.max_frames
    )
    start = time.monotonic()
    match chosen:
        case MultiviewCapture():
            options = build_multiview.CaptureOptions(
                crop_size=chosen.crop_size,
                texture_size=chosen.texture_size,
                view_textures=chosen.view_textures,
                image_codec=chosen.image_codec,
                texture_codec=chosen.texture_codec,
                segments=chosen.segments,
                cameras=chosen.cameras,
                test_segments=chosen.test_segments,
                test_cameras=chosen.test_cameras,
                topology=chosen.topology,
            )
            built = build_multiview.build(chosen.source, chosen.out, shared, options)
        case Ibug300W():
            built = build_ibug.build(chosen.source, chosen.out, shared)
        case MonocularVideo():
            options = build_video.VideoOptions(
                chosen.crop_size, chosen.image_codec, chosen.boxes
            )
            built = build_video.build(chosen.source, chosen.out, shared, options)
    seconds = time.monotonic() - start
    records = sum(sum(splits.values()) for splits in built.counts.values())
    for config_name, splits in built.counts.items():
        counts = ", ".join(f"{split} {count}" for split, count in splits.items())
        console.out.print(f"{config_name or 'records'}: {counts}")
    for gap in built.gaps[:SHOWN_GAPS]:
        console.out.print(f"  missing: {gap}")
    if len(built.gaps) > SHOWN_GAPS:
        rest = len(built.gaps) - SHOWN_GAPS
        console.out.print(f"  and {rest} more, see {built.folder / 'dataset.json'}")
    console.out.print(
        f"{built.folder}: {records} records in {seconds:.1f} s "
        f"({records / seconds:.0f}/s), {len(built.gaps)} gaps"
    )
