# SPDX-License-Identifier: Apache-2.0
"""What a built dataset holds, field by field, and how to open one (DESIGN 7).

`i2z data build NAME --out DIR` leaves a TFDS dataset in ArrayRecord files that grain
reads by index, and beside it what is true of the whole dataset:

    DIR/NAME/[CONFIG/]VERSION/   shards, features.json, dataset_info.json
    DIR/NAME/dataset.json        sources, options, counts, the gaps that were tolerated
    DIR/NAME/sources/INDEX/      per capture, see capture_source.py

Records lie in source order (no shuffling on disk): training shuffles by index, and
video needs its order. Images are encoded bytes (PNG, JPEG or WebP), RGB, row 0 on
top, pixel centres at +0.5; an EXIF orientation tag is never applied. Textures are
encoded **as in the Multiface files**, last image row v = 0; `images.decode_texture`
flips them. What was not seen is exactly 0 in a capture, which no lossy codec keeps:
`seen`, a mask, says it beside each texture. Points and boxes are in pixels of the
stored image: (0, 0) is the outer corner of the top left pixel, (0.5, 0.5) its centre;
boxes are left, top, right, bottom.

**multiview_capture**, config `views`, splits `train`, `test` (held-out segments),
`camera` (held-out cameras, training segments), `test_camera` (both held out):

| field | type | |
|---|---|---|
| image | bytes | face crop, crop_size x crop_size |
| pose | float32 6 | H of the crop (DESIGN 5) |
| pose_residual_px | float32 | RMS distance of H's projection to the calibrated one |
| view | float32 3 | unit vector from the head to the camera, head space |
| camera | int32 | row in `cameras.json`: the camera's place in the KRT file |
| source | int32 | which capture, the INDEX above |
| segment, frame | text, int32 | as in the capture's `frame_list.txt` |
| frame_index | int32 | row of this frame among `frames`, see `open_frames` |
| crop_from_image | float32 2 3 | pixels of the camera image -> pixels of the crop |

**multiview_capture**, config `frames`, splits `train`, `test`; one record a frame:

| field | type | |
|---|---|---|
| vertices | float32 n 3 | mm, head space, bit for bit as in the capture |
| world_from_head | float32 3 4 | head pose, mm |
| source, segment, frame | int32, text, int32 | |

**multiview_capture**, configs `view_textures` (absent if built without) and
`frame_textures`, row for row what belongs to `views` and `frames`. Textures are most
of a capture's bytes, and who trains on crops and meshes does not read them:

| field | type | |
|---|---|---|
| texture, seen | bytes | unwrapped from this camera; average over the cameras |

**ibug_300w**, splits `train` 3148, `common` 554, `challenging` 135 (full =
`common+challenging`, 689), `private` 600:

| field | type | |
|---|---|---|
| image | bytes | the file itself, or a part around the face when it is large |
| landmarks | float32 68 2 | pixels; the `.pts` value - 0.5 where the file is stored |
| box | float32 4 | pixels |
| box_source | text | `detector` (the `.mat` files) or `landmarks` |
| id | text | path of the image in the source folder |
| crop_from_image | float32 2 3 | pixels of the file -> pixels of `image` |

**monocular_video**, split `train`, the frames of each video in order:

| field | type | |
|---|---|---|
| image | bytes | crop, crop_size x crop_size |
| video | text | name of the file or folder |
| frame | int32 | number in the video, from 0 |
| time_s | float64 | presentation time |
| box | float32 4 | face box of this frame, pixels of the video frame |
| box_found | bool | seen in this frame, not carried over from its neighbours |
| crop_from_image | float32 2 3 | pixels of the video frame -> pixels of the crop |
| duplicate | bool | a repetition of the frame before |
| cut | bool | does not continue the frame before: first frame, cut or gap |
| has_truth | bool | the fields below are measured, not zeros |
| pose | float32 6 | H of this crop |
| vertices | float32 n 3 | mm; n = 0 in a dataset without ground truth |
| landmarks | float32 68 2 | pixels of the crop |
| z | float32 z | a DAM's code; z = 0 when the ground truth has none |
"""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from i2z_jax.errors import InputError
from i2z_jax.files import read_text, require_folder

# The datasets, by the names of their folders.
NAMES = MULTIVIEW, IBUG, VIDEO = "multiview_capture", "ibug_300w", "monocular_video"
# Of a folder of a capture, before it is built.
CAPTURE = "KRT", "frame_list.txt"
# Says what is true of the whole dataset; one without it is not built.
DESCRIPTION = "dataset.json"
# Of the fields; what was built with others is built again.
VERSIONS = {MULTIVIEW: "3.0.0", IBUG: "1.0.0", VIDEO: "1.0.0"}
# Fields that hold an encoded picture: read as bytes, decoded by who needs them.
ENCODED = ("image", "texture", "seen")


def features(name: str) -> Any:
    """The TFDS features of a dataset: `IBUG`, `VIDEO`, or `MULTIVIEW/config`."""
    import tensorflow_datasets as tfds

    f = tfds.features
    picture = f.Image(shape=(None, None, 3))
    unwrapped = {"texture": picture, "seen": f.Image(shape=(None, None, 1))}
    whole, text, flag = f.Scalar(np.int32), f.Text(), f.Scalar(np.bool_)

    def real(*shape: int | None, dtype: type = np.float32) -> Any:
        return f.Tensor(shape=shape, dtype=dtype)

    fields = {
        f"{MULTIVIEW}/views": {
            "image": picture,
            "pose": real(6),
            "pose_residual_px": real(),
            "view": real(3),
            "camera": whole,
            "source": whole,
            "segment": text,
            "frame": whole,
            "frame_index": whole,
            "crop_from_image": real(2, 3),
        },
        f"{MULTIVIEW}/view_textures": unwrapped,
        f"{MULTIVIEW}/frames": {
            "vertices": real(None, 3),
            "world_from_head": real(3, 4),
            "source": whole,
            "segment": text,
            "frame": whole,
        },
        f"{MULTIVIEW}/frame_textures": unwrapped,
        IBUG: {
            "image": picture,
            "landmarks": real(68, 2),
            "box": real(4),
            "box_source": text,
            "id": text,
            "crop_from_image": real(2, 3),
        },
        VIDEO: {
            "image": picture,
            "video": text,
            "frame": whole,
            "time_s": real(dtype=np.float64),
            "box": real(4),
            "box_found": flag,
            "crop_from_image": real(2, 3),
            "duplicate": flag,
            "cut": flag,
            "has_truth": flag,
            "pose": real(6),
            "vertices": real(None, 3),
            "landmarks": real(68, 2),
            "z": real(None),
        },
    }
    return f.FeaturesDict(fields[name])


def name_of(place: Path) -> str | None:
    """Which dataset a folder is, whatever the folder is called; None if it is none.

    A damaged description does not say it: then the folder's name does.
    """
    path = place / DESCRIPTION
    if not path.is_file():
        return None
    try:
        name = json.loads(read_text(path))["name"]
    except (InputError, ValueError, TypeError, KeyError):
        name = place.name
    return name if name in NAMES else None


def folder(directory: str | Path, name: str) -> Path:
    """The folder of dataset `name`: `directory` itself or the one inside it.

    Raises:
        InputError: it is in neither.
    """
    directory = Path(directory)
    for candidate in (directory, directory / name):
        if name_of(candidate) == name:
            return candidate
    require_folder(directory, f"a built {name}")
    given = shlex.quote(str(directory))
    what, places = f"no built {name} here", f"DIR --out {given}"
    if name == MULTIVIEW and any((directory / file).exists() for file in CAPTURE):
        what, places = "a capture that is not built yet", f"{given} --out data"
    fix = f"i2z data build {name} --source {places}"
    raise InputError(what, where=directory, fix=fix)


def description(directory: str | Path, name: str) -> dict[str, Any]:
    """What `dataset.json` says: sources, options, splits, gaps.

    Raises:
        InputError: nothing built there, the file is damaged, or the dataset has the
            fields of another version.
    """
    path = folder(directory, name) / DESCRIPTION
    text = read_text(path)
    try:
        described = json.loads(text)
    except ValueError:
        described = None
    if not (isinstance(described, dict) and {"splits", "gaps"} <= described.keys()):
        raise InputError(
            "damaged", where=path, expected="JSON with splits and gaps",
            fix="build it again with --overwrite",
        )  # fmt: skip
    if described.get("version") != VERSIONS[name]:
        raise InputError(
            "a dataset of another version", where=path, expected=VERSIONS[name],
            got=described.get("version"), fix="build it again with --overwrite",
        )  # fmt: skip
    return described


def open_split(
    directory: str | Path, name: str, split: str, *, config: str = ""
) -> Any:
    """A random-access source of one split: `len()`, and `[i] -> dict` of fields.

    Text and encoded pictures come as bytes, everything else as NumPy. The source is
    picklable and what `grain.MapDataset.source` wants.

    Args:
        directory: where `i2z data build --out` wrote to, or the dataset in it.
        name: the dataset.
        split: a split, or a TFDS expression such as "common+challenging".
        config: of a multiview capture.

    Raises:
        InputError: as `description`, or no such split.
    """
    import tensorflow_datasets as tfds

    version = description(directory, name)["version"]
    place = folder(directory, name) / config / version
    builder: Any = tfds.builder_from_directory(place)
    for part in split.split("+"):
        known = sorted(builder.info.splits)
        if part.split("[")[0] not in known:
            raise InputError(
                "no such split", where=place, expected=", ".join(known), got=part
            )
    raw = {key: tfds.decode.SkipDecoding() for key in ENCODED}
    raw = {key: value for key, value in raw.items() if key in builder.info.features}
    return builder.as_data_source(split, decoders=raw)


def open_frames(directory: str | Path, config: str = "frames") -> Any:
    """The frames of a multiview capture, or their textures (`frame_textures`); a view's
    `frame_index` is a row of this."""
    splits = description(directory, MULTIVIEW)["splits"][config]
    return open_split(directory, MULTIVIEW, "+".join(splits), config=config)


def has_split(
    directory: str | Path, name: str, split: str, *, config: str = ""
) -> bool:
    """Whether a built dataset has examples in `split`."""
    return bool(description(directory, name)["splits"][config].get(split))


def has_views(directory: str | Path, split: str) -> bool:
    """Whether a built multiview capture has views in `split`."""
    return has_split(directory, MULTIVIEW, split, config="views")


def has_view_textures(directory: str | Path) -> bool:
    """Whether a multiview capture was built with a texture of each view."""
    return "view_textures" in description(directory, MULTIVIEW)["splits"]
