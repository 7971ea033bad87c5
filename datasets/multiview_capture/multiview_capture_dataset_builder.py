# SPDX-License-Identifier: Apache-2.0
"""TFDS builder of `multiview_capture`; `i2z data build multiview_capture` runs it."""

import tensorflow_datasets as tfds
from etils import epath

from i2z_jax.data import records
from i2z_jax.data.tfds_builder import AdoptingBuilder


class Builder(AdoptingBuilder):
    """A head seen by many calibrated cameras: `views` of each camera, and `frames`;
    the textures of both, which most readers do not want, in configs of their own."""

    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version(records.VERSIONS[records.MULTIVIEW])
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS's own shape)
        "1.0.0": "First version.",
        "2.0.0": "A mask of what was seen beside each texture.",
        "3.0.0": "Textures in configs of their own.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=name, description=f"One record a {of}.")
        for name, of in (
            ("views", "frame and camera"),
            ("view_textures", "frame and camera, the rows of `views`"),
            ("frames", "frame"),
            ("frame_textures", "frame, the rows of `frames`"),
        )
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        name = f"{self.name}/{self.builder_config.name}"
        return self.dataset_info_from_configs(
            features=records.features(name),
            disable_shuffling=True,
        )
