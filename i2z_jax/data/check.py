# SPDX-License-Identifier: Apache-2.0
"""Is this folder usable? Recognise its layout, look at every file, draw what agrees.

A validator per layout (`check_capture`, `check_landmarks`, `check_video`,
`check_built`) fills a `Report`: facts, what is missing or damaged grouped by kind, and
pictures with the annotation drawn on them, so that a person sees in one look whether
mesh, camera and image belong together.
"""

from pathlib import Path

from i2z_jax.data import check_built, check_capture, check_landmarks, check_video
from i2z_jax.data.check_report import Report
from i2z_jax.errors import InputError
from i2z_jax.files import reading

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")


def check(path: Path) -> Report:
    """Recognise what lies at `path` and look at all of it.

    Raises:
        InputError: it does not exist, or has none of the layouts.
    """
    require_no_archive(path)
    with reading(path):
        path.stat()
    for validator in (check_built, check_capture, check_landmarks, check_video):
        if validator.recognises(path):
            return validator.look(path)
    raise InputError(
        "no layout that is known",
        where=path,
        expected="a capture (KRT, frame_list.txt, images, tracked_mesh), 300-W folders "
        "or pictures with .pts, a video or a folder of frames, or a built dataset",
    )


def require_no_archive(path: Path) -> None:
    """Refuse archives: what is in one is not unpacked here.

    Raises:
        InputError: the name is that of an archive.
    """
    if path.suffix.lower() in ARCHIVES and not path.is_dir():
        raise InputError("an archive", where=path, fix="unpack it and give the folder")
