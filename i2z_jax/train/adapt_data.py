# SPDX-License-Identifier: Apache-2.0
"""What adaptation works with, made ready on the devices before the first step.

Of the video: frames with their stream maps, and which pairs are learned from and which
are the guard's. Of the capture, if there is one: labelled views to replay, the
distribution of z, and how the landmark detector reads this face. Nothing of this
changes during the run.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from i2z_jax import console
from i2z_jax.data.augment import resized_view
from i2z_jax.data.capture_source import capture_nearness, only_source
from i2z_jax.data.landmarks68 import COUNT, ON_CONTOUR
from i2z_jax.data.pipeline import VideoFrames, Views, pair_starts
from i2z_jax.data.records import has_views, open_frames
from i2z_jax.errors import InputError
from i2z_jax.geometry.camera import project_near
from i2z_jax.geometry.crop import pixels_from_unit
from i2z_jax.geometry.mesh_arrays import mesh_arrays
from i2z_jax.geometry.topology import Topology, landmark_points
from i2z_jax.objectives.adapt import ZPrior
from i2z_jax.objectives.face_mesh import FaceMesh
from i2z_jax.sharding import replicate
from i2z_jax.spacing import evenly_spaced
from i2z_jax.system import System
from i2z_jax.train.frame_cache import FrameCache, build_cache, pictures
from i2z_jax.train.guard import judged_frames
from i2z_jax.train.lab_views import LabelledViews, draw_views, label_views
from i2z_jax.train.labels import check_topology, encode_frames
from i2z_jax.train.landmark_bias import LandmarkBias, measure_bias
from i2z_jax.train.memory import shortage_is_bad_input
from i2z_jax.train.rehearsal import rehearse
from i2z_jax.types import Array, Example, Float, Int, NDArray
from i2z_jax.wording import counted

# With fewer neither side of a video has enough pairs to mean anything.
FEWEST_FRAMES = 20
# Lab views that the guard watches for forgetting.
WATCHED = 64


class VideoData(NamedTuple):
    """Cached frames, and the pairs for training and for the guard."""

    frames: FrameCache
    # Rows of `frames` whose next row is the next moment.
    learn: Int[NDArray, "p"]
    judge: Int[NDArray, "q"]
    # Pose and vertices of every row, where the dataset has ground truth on this mesh;
    # reported, never used.
    truth: tuple[Float[Array, "f 6"], Float[Array, "f n 3"]] | None


class LabData(NamedTuple):
    """From the capture: replay and held-out views, prior of z, detector bias."""

    replay: LabelledViews | None
    # Not trained on; None if the capture holds nothing out.
    watched: LabelledViews | None
    # What may be drawn into the video.
    moments: Views | None
    prior: ZPrior
    bias: LandmarkBias


class AdaptationData(NamedTuple):
    """Everything adaptation reads, on the devices."""

    video: VideoData
    replay: LabelledViews | None
    watched: LabelledViews | None
    prior: ZPrior
    face: FaceMesh
    # 1 / distance of the video's camera, 1/mm.
    nearness: float


@shortage_is_bad_input("fewer --pairs, --replay and --rehearse, or --dtype bfloat16")
def prepare(
    system: System,
    video: str | Path,
    capture: str | Path | None,
    *,
    nearness: float,
    share_held_out: float,
    most_pairs: int,
    replayed: int,
    rehearsed: int,
    seed: int,
    dtype: DTypeLike,
    mesh: Mesh,
) -> AdaptationData:
    """Read a built video and, if there is one, a built capture.

    Args:
        nearness: of the video's camera, 1/mm (`camera.nearness_of`).
        share_held_out: of the video, for the guard.
        most_pairs: to learn from, spread over the video.
        replayed: lab views, drawn with `seed`.
        rehearsed: views drawn into the video (`rehearsal.py`), replayed beside them.
        dtype: of the cached maps.

    Raises:
        InputError: the video is too short; the capture is of another mesh; a device is
            out of memory.
    """
    lab = prepare_capture(
        system, capture, replayed=replayed, seed=seed, dtype=dtype, mesh=mesh
    )
    filmed = prepare_video(
        system,
        video,
        share_held_out=share_held_out,
        most_pairs=most_pairs,
        dtype=dtype,
        mesh=mesh,
    )
    # Texels finer than the crop's pixels have nothing to say.
    size = min(system.dam_card.config.texture_size, system.image_size)
    face = face_mesh(system.topology, lab.bias, texture_size=size, mesh=mesh)
    parts = [] if lab.replay is None else [lab.replay]
    if lab.moments is not None and rehearsed:
        drawn = rehearse(
            system,
            filmed.frames,
            face,
            np.union1d(filmed.learn, filmed.learn + 1),
            lab.moments,
            nearness=nearness,
            count=rehearsed,
            seed=seed,
            mesh=mesh,
        )
        views, _ = label_views(system.net, drawn, dtype=dtype, mesh=mesh)
        parts.append(views)
    replay = None
    if parts:
        replay = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
    return AdaptationData(filmed, replay, lab.watched, lab.prior, face, nearness)


def check_system(system: System, where: str | Path) -> None:
    """Refuse a system that cannot be adapted.

    Raises:
        InputError: no landmark stream, or no landmarks on the mesh.
    """
    config = system.net_card.config
    if not config.has_landmarks:
        raise InputError(
            "adaptation reads landmarks, and this network has no landmark stream",
            where=where,
            expected="variant vgg+skip+key",
            got=config.variant,
        )
    if system.topology.landmark_faces is None:
        raise InputError(
            "the mesh has no landmark map",
            where=Path(where) / "topology.npz",
            fix="`i2z data landmark-map` makes one",
        )


def check_capture(system: System, directory: str | Path) -> None:
    """Refuse a capture that is not the system's.

    Raises:
        InputError: not built, of several people, or of another mesh.
    """
    only_source(directory)  # of several people, the decoder would be of none
    check_topology(system.dam, open_frames(directory)[0]["vertices"], directory)


def check_length(video: VideoFrames, where: str | Path) -> None:
    """Refuse a video that is too short.

    Raises:
        InputError: it is.
    """
    if len(video) < FEWEST_FRAMES:
        raise InputError(
            "the video is too short to learn from it and to judge the result",
            where=where,
            got=counted(len(video), "frame"),
            expected=f"{FEWEST_FRAMES} or more; a few hundred are good",
        )


def prepare_video(
    system: System,
    directory: str | Path,
    *,
    share_held_out: float,
    most_pairs: int,
    dtype: DTypeLike,
    mesh: Mesh,
) -> VideoData:
    """Choose pairs of a built video, and run the streams over their frames.

    Raises:
        InputError: the video is too short to learn from and to judge.
    """
    source = VideoFrames(directory)
    check_length(source, directory)
    kept_out = judged_frames(len(source), share_held_out)
    starts = pair_starts(source)
    # A pair belongs to a side when both of its frames do.
    sides = [starts[side[starts] & side[starts + 1]] for side in (~kept_out, kept_out)]
    if not all(map(len, sides)):
        raise InputError(
            "no two consecutive frames to learn from, or none to judge by",
            where=directory,
            expected="a moving video, not a cut or a repeat at every frame",
            got=" and ".join(counted(len(side), "pair") for side in sides),
        )
    shares = (most_pairs, max(1, round(most_pairs * share_held_out)))
    learn, judge = (
        starts[evenly_spaced(len(starts), most)]
        for starts, most in zip(sides, shares, strict=True)
    )
    index = np.unique(np.concatenate([learn, learn + 1, judge, judge + 1]))
    frames = build_cache(
        system.net,
        pictures(source, index, system.image_size, "frames"),
        dtype=dtype,
        mesh=mesh,
    )
    console.err.print(
        f"{counted(len(index), 'frame')}, {counted(len(learn), 'pair')} to learn from, "
        f"{len(judge)} held out; {frames.size_bytes / 2**20:.0f} MiB on each device"
    )
    return VideoData(
        frames,
        np.searchsorted(index, learn).astype(np.int32),
        np.searchsorted(index, judge).astype(np.int32),
        _truth(source, index, system.topology.vertex_count, mesh),
    )


def prepare_capture(
    system: System,
    directory: str | Path | None,
    *,
    replayed: int,
    seed: int,
    dtype: DTypeLike,
    mesh: Mesh,
) -> LabData:
    """Views to replay, augmented as in training, and what follows from them.

    Without a capture: no replay, z as the decoder's own prior has it (DESIGN 4: KL to
    the unit Gaussian), landmarks as the topology has them. If `replayed` is 0: all but
    the replay.

    Raises:
        InputError: the capture is of several people, or has another mesh or texture
            size than the decoder.
    """
    if directory is None:
        z_size = system.dam_card.config.z_size
        unit = ZPrior(jnp.zeros(z_size), jnp.ones(z_size))
        return LabData(
            None, None, None, replicate(unit, mesh), LandmarkBias.none(COUNT)
        )
    check_capture(system, directory)
    z = encode_frames(system.dam, directory)
    label = partial(label_views, system.net, dtype=dtype, mesh=mesh)
    views = partial(Views, directory, tables={"z": z})
    train = views("train")
    # Some are looked at in any case, for the detector's bias.
    count = min(replayed or WATCHED, len(train))
    examples = draw_views(train, count, size=system.image_size, seed=seed)
    replay, cache = label(examples)
    watched = None
    if has_views(directory, "test"):
        watched, _ = label(_upright(views("test"), WATCHED, system.image_size))
    return LabData(
        replay if replayed else None,
        watched,
        views("train", fields=("vertices", "average_texture")),
        replicate(ZPrior(z.mean(0), np.maximum(z.std(0), 1e-3)), mesh),
        _detector_bias(system, cache, examples, capture_nearness(directory)),
    )


def _upright(views: Views, most: int, size: int) -> list[Example]:
    """Some views, spread over all, as they are."""
    return [
        resized_view(views[row], size=size) for row in evenly_spaced(len(views), most)
    ]


def _detector_bias(
    system: System, cache: FrameCache, examples: list[Example], nearness: float
) -> LandmarkBias:
    """From views that the detector has seen by a camera of some nearness, 1/mm, and
    their labels."""
    assert cache.detected is not None, "see check_system"
    points, confidence = map(np.asarray, cache.detected)
    size = system.image_size
    projected, pose = _projected_landmarks(system.topology, examples, nearness, size)
    return measure_bias(points, confidence, projected, pose, size)


def face_mesh(
    topology: Topology, bias: LandmarkBias, *, texture_size: int, mesh: Mesh
) -> FaceMesh:
    """The topology on the devices, its landmarks as the detector marks them."""
    arrays = FaceMesh(
        mesh_arrays(topology, texture_size),
        jnp.asarray(bias.offset, jnp.float32),
        jnp.asarray(bias.trust, jnp.float32),
        jnp.asarray(ON_CONTOUR),
    )
    return replicate(arrays, mesh)


def _truth(source: VideoFrames, index: Int[NDArray, "f"], vertices: int, mesh: Mesh):
    """H and mesh of these frames, if all of them have both, of our topology."""
    poses, meshes = [], []
    for row in index.tolist():
        record = source.record(row)  # with its picture: one at a time
        if not record["has_truth"] or len(record["vertices"]) != vertices:
            return None
        poses.append(record["pose"])
        meshes.append(record["vertices"])
    # H is in units of the crop: the same for a crop of another size.
    return replicate((np.stack(poses), np.stack(meshes)), mesh)


def _projected_landmarks(topology: Topology, examples, nearness: float, size: int):
    pose = np.stack([example["pose"] for example in examples]).astype(np.float64)
    vertices = np.stack([example["vertices"] for example in examples])
    vertices = vertices.astype(np.float64)
    points = landmark_points(topology, vertices)
    points = project_near(pose, points, vertices, np.asarray(nearness))[..., :2]
    return pixels_from_unit(points, size), pose
