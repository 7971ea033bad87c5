# SPDX-License-Identifier: Apache-2.0
"""The stages of `i2z demo`, as data: a command line, what it leaves, what to report."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple


class Figure(NamedTuple):
    """A number of `summary.json`, read from what a stage left.

    Attributes:
        name: its key in the summary.
        file: JSON of `i2z evaluate`, or a run's `metrics.jsonl` (its last line counts).
        path: keys and indices from the top of the file to the number.
    """

    name: str
    file: str
    path: tuple[str | int, ...]


class Stage(NamedTuple):
    """One command of the demo.

    Attributes:
        name: what it is called in the summary.
        command: the words after `i2z`; `{out}` is the demo's folder.
        leaves: what exists in that folder when it is done.
        figures: what the summary takes from it.
        group: stages one after the other with the same one do not need each other,
            and run two at a time, the longest first.
    """

    name: str
    command: str
    leaves: str
    figures: tuple[Figure, ...] = ()
    group: str = ""


STAGES = (
    Stage(
        "capture",
        "synth capture --preset tiny --out {out}/capture",
        "capture/frame_list.txt",
        group="render",
    ),
    Stage(
        "people",
        "synth landmarks --preset tiny --out {out}/people",
        "people",
        group="render",
    ),
    Stage(
        "video",
        "synth video --preset tiny --out {out}/wild.mp4 --overwrite",
        "wild.mp4",
        group="render",
    ),
    Stage(
        "build capture",
        "data build multiview_capture --source {out}/capture --out {out}/data"
        " --crop-size 128 --texture-size 128",
        "data/multiview_capture/dataset.json",
        group="build",
    ),
    Stage(
        "build people",
        "data build ibug_300w --source {out}/people --out {out}/data",
        "data/ibug_300w/dataset.json",
        group="build",
    ),
    Stage(
        "build video",
        "data build monocular_video --source {out}/wild.mp4 --out {out}/data"
        " --crop-size 128",
        "data/monocular_video/dataset.json",
        group="build",
    ),
    Stage(
        "train hourglass",
        "train landmarks --preset tiny --loop.steps 550 --data {out}/data"
        " --capture {out}/data --workdir {out}/landmarks",
        "landmarks/hourglass",
        (Figure("landmark_nme", "landmarks/metrics.jsonl", ("eval/nme",)),),
        group="train",
    ),
    Stage(
        "train dam",
        "train dam --preset tiny --data {out}/data --workdir {out}/dam",
        "dam/dam",
        group="train",
    ),
    Stage(
        "train vgg",
        # Its blocks are read, not its heatmaps: it need not paint them well.
        "train landmarks --preset tiny --stream vgg --loop.steps 150"
        " --data {out}/data --capture {out}/data --workdir {out}/vgg",
        "vgg/vgg",
        group="train",
    ),
    Stage(
        "train regress",
        "train regress --preset tiny --data {out}/data --dam {out}/dam/dam"
        " --vgg {out}/vgg/vgg --hourglass {out}/landmarks/hourglass"
        " --cache 1024 --weights.texture 0 --loop.steps 300 --workdir {out}/regress",
        "regress/system",
    ),
    Stage(
        "adapt",
        "adapt --video {out}/data --checkpoint {out}/regress/system --data {out}/data"
        " --replay 128 --rehearse 256 --loop.steps 120 --loop.evaluate-every 40"
        " --workdir {out}/adapt",
        "adapt/system",
        group="adapt",
    ),
    Stage(
        "oracle",
        # What the same steps reach with the truth that adaptation does without.
        "adapt --supervised --video {out}/data --checkpoint {out}/regress/system"
        " --data {out}/data --replay 128 --rehearse 256 --loop.steps 120"
        " --loop.evaluate-every 40 --workdir {out}/oracle",
        "oracle/system",
        group="adapt",
    ),
    Stage(
        "evaluate capture",
        "evaluate capture {out}/regress/system --data {out}/data --split test"
        " --json {out}/capture.json --pictures {out}/pictures",
        "capture.json",
        (
            Figure("capture_vertex_mm", "capture.json", ("rows", 0, "vertex_mm")),
            Figure("mean_face_vertex_mm", "capture.json", ("rows", 1, "vertex_mm")),
            Figure("capture_pose_px_of_256", "capture.json", ("rows", 0, "pose_px")),
        ),
        group="adapt",
    ),
    Stage(
        "evaluate video",
        # The frames that `adapt` holds out: its default share.
        "evaluate video {out}/regress/system {out}/adapt/system"
        " --oracle {out}/oracle/system --data {out}/data"
        " --held-out 0.2 --json {out}/video.json --pictures {out}/pictures",
        "video.json",
        (
            Figure("vertex_mm_before", "video.json", ("rows", 0, "vertex_mm")),
            Figure("vertex_mm_after", "video.json", ("rows", 1, "vertex_mm")),
            Figure("vertex_mm_oracle", "video.json", ("rows", 2, "vertex_mm")),
            Figure("gap_closed", "video.json", ("rows", 1, "gap_closed")),
            Figure("pose_px_before", "video.json", ("rows", 0, "pose_px")),
            Figure("pose_px_after", "video.json", ("rows", 1, "pose_px")),
        ),
        group="show",
    ),
    Stage(
        "track",
        "track {out}/wild.mp4 --checkpoint {out}/adapt/system --out {out}/tracked"
        " --overwrite",
        "tracked/report.html",
        group="show",
    ),
)

# What `--ablation` adds: the four published variants, trained alike, and their table
# beside the demo's own network, which reads the landmarks' coordinates, too.
ABLATION = (
    *(
        Stage(
            f"variant {variant}",
            f"train regress --preset tiny --variant {variant} --data {{out}}/data"
            f" --dam {{out}}/dam/dam {streams} --weights.texture 0"
            f" --workdir {{out}}/ablation/{variant}",
            f"ablation/{variant}/system",
        )
        for variant, streams in (
            ("vgg-scratch", ""),
            # What learns from frozen maps can keep them.
            ("vgg", "--vgg {out}/vgg/vgg --cache 1024"),
            ("vgg+skip", "--vgg {out}/vgg/vgg --cache 1024"),
            (
                "vgg+skip+key",
                "--vgg {out}/vgg/vgg --hourglass {out}/landmarks/hourglass"
                " --cache 1024 --shape-size 0",
            ),
        )
    ),
    Stage(
        "evaluate ablation",
        "evaluate ablation {out}/ablation/vgg-scratch/system {out}/ablation/vgg/system"
        " {out}/ablation/vgg+skip/system {out}/ablation/vgg+skip+key/system"
        " {out}/regress/system --data {out}/data"
        " --json {out}/ablation.json --pictures {out}/pictures",
        "ablation.json",
    ),
)


def side_by_side(stages: Sequence[Stage]) -> list[list[Stage]]:
    """The stages in their order, those of one group together."""
    return [list(g) for _, g in groupby(stages, lambda s: s.group or s.name)]
